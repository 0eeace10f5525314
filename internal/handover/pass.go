package handover

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/rights"
)

const (
	// MaxFiles is the most files that are passed at once. The kernel's limit is SCM_MAX_FD,
	// 253.
	MaxFiles = 200
	// maxNames is the most bytes of their names.
	maxNames = 16 << 10
)

// Passed is an open file for the receiver, with one of the names above.
type Passed struct {
	File *os.File
	Name string
}

// SendFiles passes files to the process at the other end of the SOCK_SEQPACKET socket: one
// message with the names, joined by ":", and the descriptors (SCM_RIGHTS of unix(7)). At most
// MaxFiles can be passed.
func SendFiles(socket int, files []Passed) error {
	var names []string
	var fds []int
	for _, f := range files {
		names = append(names, f.Name)
		fds = append(fds, int(f.File.Fd()))
	}
	list := []byte(strings.Join(names, ":"))
	if err := checkSize(files, list); err != nil {
		return err
	}
	if err := unix.Sendmsg(socket, list, unix.UnixRights(fds...), nil, 0); err != nil {
		return fmt.Errorf("cannot hand the files over: %w", err)
	}
	return nil
}

// checkSize returns an error if the files, or the text that names them, are too many to pass.
func checkSize(files []Passed, text []byte) error {
	if len(files) <= MaxFiles && len(text) <= maxNames {
		return nil
	}
	return fmt.Errorf("cannot hand over %d files with names of %d bytes: at most %d files and %d bytes are possible; hint: choose a socket path with fewer directories to make",
		len(files), len(text), MaxFiles, maxNames)
}

// ReceiveFiles returns the files of one SendFiles at the other end of the socket, without
// waiting: the error is EAGAIN if there are none yet. If the other end is closed, it returns
// no files and no error.
func ReceiveFiles(socket int) ([]File, error) {
	names := make([]byte, maxNames)
	n, fds, err := rights.Receive(socket, names, MaxFiles)
	if err == nil && n == 0 && fds == nil {
		return nil, nil
	}
	list := strings.Split(string(names[:n]), ":")
	if err == nil && len(list) != len(fds) {
		err = fmt.Errorf("%d names for %d descriptors", len(list), len(fds))
	}
	if err != nil {
		file.CloseAll(fds)
		return nil, fmt.Errorf("cannot receive files: %w", err)
	}
	files := make([]File, len(fds))
	for i, fd := range fds {
		files[i] = File{FD: fd, Name: list[i]}
	}
	return files, nil
}

// CloseFiles closes the files.
func CloseFiles(files []File) {
	for _, f := range files {
		_ = unix.Close(f.FD)
	}
}

// ClosePassed closes files.
func ClosePassed(files []Passed) {
	for _, f := range files {
		_ = f.File.Close()
	}
}

// SendNames tells a confined receiver what SendFiles would pass: the sandbox does not let
// programs pass open files. The socket is the receiver's own, to which this process gave a
// name. Each directory is named by its path below the container's root.
func SendNames(socket int, files []Passed) error {
	var list []string
	for _, f := range files {
		list = append(append(list, f.Name, f.File.Name()), idOf(int(f.File.Fd()))...)
	}
	text := []byte(strings.Join(list, "\x00"))
	if err := checkSize(files, text); err != nil {
		return err
	}
	if err := unix.Send(socket, text, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("cannot hand the files over: %w", err)
	}
	return nil
}

// ReceiveNames is ReceiveFiles for SendNames. open opens a directory (O_PATH) by its path
// below the container's root. The socket is a duplicate of unbound, which was passed to the
// hook. A directory that was replaced meanwhile is left out. So is a file that cannot be
// opened; the error names it, beside the other files.
func ReceiveNames(socket, unbound int, open func(path string) (int, error)) (files []File, err error) {
	text := make([]byte, maxNames)
	n, _, err := unix.Recvfrom(socket, text, unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("cannot receive files: %w", err)
	}
	if n == 0 {
		return nil, nil
	}
	list := strings.Split(string(text[:n]), "\x00")
	files = []File{} // nil means the end
	var left []error
	for ; len(list) >= 4; list = list[4:] {
		name, path, id := list[0], list[1], list[2:4]
		var fd int
		if IsSocket(name) {
			fd, err = unix.FcntlInt(uintptr(unbound), unix.F_DUPFD_CLOEXEC, 0)
		} else if fd, err = open(path); err == nil && !slices.Equal(idOf(fd), id) {
			unix.Close(fd)
			continue
		}
		switch {
		case err == nil:
			files = append(files, File{FD: fd, Name: name})
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP):
			left = append(left, fmt.Errorf("cannot open %s of the repair's files: %w", name, err))
		}
	}
	return files, errors.Join(left...)
}

// idOf returns the file's identity in the form of SendNames.
func idOf(fd int) []string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return []string{"", ""}
	}
	id := file.IDOf(&st)
	return []string{strconv.FormatUint(id.Dev, 10), strconv.FormatUint(id.Ino, 10)}
}

// Inheritable returns what a child needs so that Inherited returns these files: ProcAttr.Files
// from descriptor 3 on, and environment variables.
func Inheritable(passed []Passed) (files []*os.File, env []string) {
	var names []string
	for _, p := range passed {
		files = append(files, p.File)
		names = append(names, p.Name)
	}
	return files, []string{fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}
