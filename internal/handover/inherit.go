// Package handover owns what a receiver starts with: open files and their description, from
// the hook that starts it, the version that it replaces, or the service manager that kept them
// after a kill.
//
// Files are passed as systemd passes sockets (sd_listen_fds(3)): LISTEN_FDS is their number,
// from descriptor 3 on, and LISTEN_FDNAMES has their names.
package handover

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// The names under which the hook passes files to the receiver. A file with any
// other name is a bound socket, as systemd passes it.
const (
	// NameSocket is a bound socket to receive from.
	NameSocket = "log"
	// NameJournal is a bound socket for the journal's native protocol, or a stream socket for
	// standard outputs as systemd-cat(1) connects them.
	NameJournal = "journal"
	// NameInit is a pidfd (pidfd_open(2)) of the container's first process.
	// The receiver drains its sockets and ends when it becomes readable.
	NameInit = "init"
	// NameReady is the write end of a pipe. The receiver reports on it, once, that it is ready
	// or why it cannot be. See Report.
	NameReady = "ready"
	// NameRoot is the container's root directory. With it the receiver watches /dev/log there,
	// and reruns the repair.
	NameRoot = "root"
	// NameChroot is the container's root directory. The receiver first makes it its own root
	// directory.
	NameChroot = "chroot"
	// NameReceiver is a SOCK_SEQPACKET socket connected to a running receiver, which passes it
	// to the hook that it runs. See SendFiles.
	NameReceiver = "receiver"
	// NameUnbound is a datagram socket without a name, which a confined receiver passes to the
	// hook that it runs. See SendNames.
	NameUnbound = "unbound"
	// NameUnlink, followed by a name, is a directory from which the receiver removes that name
	// (unlinkat(2)) when it ends. After a socket, it is the socket's name.
	NameUnlink = "unlink/"
	// NameRmdir, followed by a name, is a directory from which the receiver removes that empty
	// directory when it ends.
	NameRmdir = "rmdir/"
)

// FirstFD is SD_LISTEN_FDS_START of sd_listen_fds(3).
const FirstFD = 3

// File is an open file that the parent process passed.
type File struct {
	FD   int
	Name string
}

// Inherited returns the files that the environment describes, in order. It sets their
// close-on-exec flag, and removes the variables from the environment. Unlike sd_listen_fds(3)
// it accepts files without LISTEN_PID, because the hook does not know the receiver's process
// ID before the start. If LISTEN_PID is another process's, there are no files.
func Inherited() ([]File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(v); err != nil {
			return nil, fmt.Errorf("cannot remove %s from the environment: %w", v, err)
		}
	}
	if pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	files, err := parseInherited(count, names)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if _, err := unix.FcntlInt(uintptr(f.FD), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("cannot use descriptor %d (%s) of LISTEN_FDS=%s: %w", f.FD, f.Name, count, err)
		}
	}
	return files, nil
}

// maxInherited is the most files that are passed: more than systemd keeps for a host's service
// (FileDescriptorStoreMax= of hooks/devlogd.service).
const maxInherited = 1 << 15

// parseInherited is Inherited for these values of the variables.
func parseInherited(count, names string) ([]File, error) {
	if count == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxInherited {
		return nil, fmt.Errorf("cannot read LISTEN_FDS=%q: want a number from 0 to %d", count, maxInherited)
	}
	var list []string
	if names != "" {
		list = strings.Split(names, ":")
		if len(list) != n {
			return nil, fmt.Errorf("cannot read LISTEN_FDNAMES=%q: want %d names, as LISTEN_FDS says", names, n)
		}
	}
	files := make([]File, n)
	for i := range files {
		files[i] = File{FD: FirstFD + i, Name: NameSocket}
		if list != nil {
			files[i].Name = list[i]
		}
	}
	return files, nil
}

// ReportReady is what Report writes without an error.
const ReportReady = "READY=1"

// Report tells the process at the other end of the pipe fd that this process is ready (problem
// is nil) or why it cannot be, and closes fd. It returns an error only with a problem if
// nobody reads the pipe any more.
func Report(fd int, problem error) error {
	text := ReportReady
	if problem != nil {
		text = problem.Error()
	}
	_, werr := unix.Write(fd, []byte(text+"\n"))
	if problem == nil && errors.Is(werr, unix.EPIPE) {
		werr = nil // the hook was killed; the next repair finds this receiver
	}
	if err := errors.Join(werr, unix.Close(fd)); err != nil {
		return fmt.Errorf("cannot report to the hook: %w", err)
	}
	return nil
}

// IsSocket returns whether a file that was passed with this name is a socket to receive from.
func IsSocket(name string) bool {
	switch name {
	case NameReady, NameInit, NameRoot, NameReceiver, NameUnbound, NameCheck, NameChroot:
		return false
	}
	return !strings.HasPrefix(name, NameUnlink) && !strings.HasPrefix(name, NameRmdir)
}

// Describe makes a description of files that a hook or a service manager passed with these
// names. It must understand the names of other versions. A file to remove that follows a
// socket is the socket's name: the kernel only knows the name that it was bound with, before
// it was renamed.
func Describe(files []File) (*Description, error) {
	d := NewDescription()
	var socket *Socket // the file before, if it is a socket
	for _, f := range files {
		before := socket
		socket = nil
		unlink, isUnlink := strings.CutPrefix(f.Name, NameUnlink)
		rmdir, isRmdir := strings.CutPrefix(f.Name, NameRmdir)
		p := &Cleanup{Dir: f.FD, Name: Text(unlink)}
		if isRmdir {
			p.Name, p.Flags = Text(rmdir), unix.AT_REMOVEDIR
		}
		switch {
		case f.Name == NameInit:
			d.Files.Init = f.FD
		case f.Name == NameRoot:
			d.Files.Root = f.FD
		case isUnlink, isRmdir:
			if strings.Contains(string(p.Name), "/") {
				return d, fmt.Errorf("cannot use passed descriptor %d (%s): %q is not a name in a directory", f.FD, f.Name, p.Name)
			}
			var kind uint32
			if p.ID, kind = file.Named(p.Dir, string(p.Name)); before != nil && kind == unix.S_IFSOCK {
				before.Cleanup, before.ID = len(d.Cleanups), p.ID
			}
			d.Cleanups = append(d.Cleanups, p)
		case IsSocket(f.Name):
			socket = &Socket{FD: f.FD, Cleanup: -1, Journal: f.Name == NameJournal}
			d.Sockets = append(d.Sockets, socket)
		}
	}
	return d, nil
}
