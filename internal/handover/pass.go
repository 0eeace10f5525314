package handover

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// MaxFiles is how many are passed at once; the kernel's limit is SCM_MAX_FD, 253.
	MaxFiles = 200
	// maxNames is how long their names are, in bytes.
	maxNames = 16 << 10
)

// Passed is an open file for the receiver, with one of the names above.
type Passed struct {
	File *os.File
	Name string
}

// SendFiles hands the files over to the process at the other end of the
// SOCK_SEQPACKET socket: one message with the names, joined by ":", and the
// descriptors (SCM_RIGHTS of unix(7)). 200 files can be handed over.
func SendFiles(socket int, files []Passed) error {
	var names []string
	var fds []int
	for _, f := range files {
		names = append(names, f.Name)
		fds = append(fds, int(f.File.Fd()))
	}
	list := []byte(strings.Join(names, ":"))
	if len(files) > MaxFiles || len(list) > maxNames {
		return fmt.Errorf("hand over %d files with names of %d bytes: %d files and %d bytes at most can be: choose a socket path with fewer directories to make",
			len(files), len(list), MaxFiles, maxNames)
	}
	err := unix.Sendmsg(socket, list, unix.UnixRights(fds...), nil, 0)
	if err != nil {
		return fmt.Errorf("hand the files over: %w", err)
	}
	return nil
}

// ReceiveFiles returns the files of one SendFiles at the other end of the
// socket, without waiting: the error is EAGAIN if there are none yet. There
// are none, and no error, once the other end is closed.
func ReceiveFiles(socket int) ([]File, error) {
	names, oob := make([]byte, maxNames), make([]byte, unix.CmsgSpace(MaxFiles*4))
	n, oobn, flags, _, err := unix.Recvmsg(socket, names, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive files: %w", err)
	}
	if n == 0 && oobn == 0 {
		return nil, nil
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		var more []int
		if more, err = unix.ParseUnixRights(&messages[i]); err != nil {
			break
		}
		fds = append(fds, more...)
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("there are more than this program takes, or more than it may open")
	}
	list := strings.Split(string(names[:n]), ":")
	if err == nil && len(list) != len(fds) {
		err = fmt.Errorf("%d names for %d descriptors", len(list), len(fds))
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("receive files: %w", err)
	}
	files := make([]File, len(fds))
	for i, fd := range fds {
		files[i] = File{FD: fd, Name: list[i]}
	}
	return files, nil
}

// Inheritable returns a description of the files for a child that is to find
// them with Inherited: what ProcAttr.Files holds from descriptor 3 on, and the
// variables of its environment.
func Inheritable(passed []Passed) (files []*os.File, env []string) {
	var names []string
	for _, p := range passed {
		files = append(files, p.File)
		names = append(names, p.Name)
	}
	return files, []string{fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}
