package receiver

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/syslog"
)

// freshSnapshot is what can be made of open files without a description: sockets to
// receive from, the container's first process and its root directory. why says what
// is wrong with the description. All other files are closed.
func freshSnapshot(files []int, why error) *snapshot {
	s := &snapshot{store: -1, base: baseState{init: -1, root: -1}, unreadable: why}
	for _, fd := range files {
		switch {
		case receives(fd):
			s.sockets = append(s.sockets, &socketState{fd: fd, place: -1})
		case s.base.init < 0 && isProcess(fd):
			s.base.init = fd
		case s.base.root < 0 && isRoot(fd):
			s.base.root = fd
		case s.store < 0 && isStore(fd):
			s.store = fd
		default:
			_ = unix.Close(fd)
		}
	}
	return s
}

// receives reports whether a descriptor is a unix socket to receive from: one that has
// a name, and is no connection.
func receives(fd int) bool {
	if _, err := inheritSocket(fd, ""); err != nil {
		return false
	}
	name, err := unix.Getsockname(fd)
	unixName, ok := name.(*unix.SockaddrUnix)
	return err == nil && ok && unixName.Name != "" && unixName.Name != "@" // x/sys/unix writes an empty name so
}

// isProcess reports whether a descriptor is a process (pidfd_send_signal(2)).
func isProcess(fd int) bool { return unix.PidfdSendSignal(fd, 0, nil, 0) != unix.EBADF }

// isRoot reports whether a descriptor is the root directory of a mount namespace: it
// is its own parent.
func isRoot(fd int) bool {
	var at, up unix.Stat_t
	return unix.Fstat(fd, &at) == nil && at.Mode&unix.S_IFMT == unix.S_IFDIR &&
		unix.Fstatat(fd, "..", &up, 0) == nil && file.IDOf(&at) == file.IDOf(&up)
}

// isStore reports whether a descriptor is what systemd holds for a receiver.
func isStore(fd int) bool {
	s, err := mapStore(fd)
	if err == nil {
		err = unix.Munmap(s.memory)
	}
	return err == nil
}

// leftOpen are the descriptors that the program before this one has left open for it:
// all but standard input, output and error that execve(2) does not close.
func leftOpen() (list []int) {
	entries, _ := os.ReadDir("/proc/self/fd") // without it there are none
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			list = append(list, fd)
		}
	}
	return list
}

// sayFresh says that the description of the program before this one was of no use.
func (r *receiver) sayFresh(why error) {
	r.say(syslog.Warning, "started without the state of the previous devlogd: "+why.Error()+
		": its sockets are kept, its counters and unwritten messages are lost")
}
