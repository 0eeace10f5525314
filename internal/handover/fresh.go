package handover

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/names"
)

// Undescribed makes a description of open files that have none: sockets to receive from, the
// container's first process and root directory. It closes all other files. why says what is wrong
// with their description.
func Undescribed(files []int, why error) *Description {
	d := NewDescription()
	d.Unreadable = why
	for _, fd := range files {
		address := boundAt(fd)
		switch {
		case address != "":
			s := newSocket()
			s.FD, s.Journal = fd, names.BoundForJournal(address)
			d.Sockets = append(d.Sockets, s)
		case d.Files.Init < 0 && isProcess(fd):
			d.Files.Init = fd
		case d.Files.Root < 0 && isRoot(fd):
			d.Files.Root = fd
		default:
			_ = unix.Close(fd)
		}
	}
	d.Receives = len(d.Sockets) > 0
	return d
}

// boundAt returns the path with which a unix socket to receive from was bound: it is not a
// connection. It returns "" for any other file.
func boundAt(fd int) string {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return ""
	}
	at, ok := name.(*unix.SockaddrUnix)
	if !ok || at.Name == "@" { // how x/sys/unix represents an empty name
		return ""
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	listens, lerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || lerr != nil || kind != unix.SOCK_DGRAM && (kind != unix.SOCK_STREAM || listens == 0) {
		return ""
	}
	return at.Name
}

// isProcess returns whether a descriptor is a pidfd (pidfd_send_signal(2)).
func isProcess(fd int) bool { return unix.PidfdSendSignal(fd, 0, nil, 0) != unix.EBADF }

// isRoot returns whether a descriptor is the root directory of a mount namespace, which is its
// own parent.
func isRoot(fd int) bool {
	var at, up unix.Stat_t
	return unix.Fstat(fd, &at) == nil && at.Mode&unix.S_IFMT == unix.S_IFDIR &&
		unix.Fstatat(fd, "..", &up, 0) == nil && file.IDOf(&at) == file.IDOf(&up)
}

// leftOpen returns the descriptors that the earlier program left open: those without
// close-on-exec, except standard input, output and error.
func leftOpen() (list []int) {
	entries, _ := os.ReadDir("/proc/self/fd") // without /proc there are none
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < FirstFD {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fd)
		}
	}
	return list
}
