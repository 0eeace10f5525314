package watcher

import (
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
)

// An init may mount a file system over the directory of the private socket: systemd
// does over /run, where nothing has been mounted yet. inotify(7) tells nothing of
// that, but a mount namespace's table of mounts does.

// mountEvents are once a change of the table (proc_pid_mounts(5)), until armMounts: a
// start has dozens, of which the first one says enough.
const mountEvents = unix.EPOLLPRI | unix.EPOLLONESHOT

// mounts is the container's table of mounts.
type mounts struct {
	fd      int  // -1 if it cannot be watched
	changed bool // there was a change of it
}

// watchMounts watches the container's mounts. Where that cannot be, the watcher sees
// what the other events tell.
func (w *Watcher) watchMounts() {
	process := "self"
	if w.container.init != nil {
		pid, err := pidfd.PID(int(w.container.init.Fd()))
		if err != nil {
			return
		}
		process = strconv.Itoa(pid)
	}
	fd, err := unix.Open("/proc/"+process+"/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	if w.owner.Poll(fd, mountEvents) != nil {
		_ = unix.Close(fd)
		return
	}
	w.mounts.fd = fd
}

// armMounts waits for the next change of the mounts.
func (w *Watcher) armMounts() {
	if w.mounts.fd >= 0 {
		_ = w.owner.Poll(w.mounts.fd, mountEvents) // it is known: nothing can fail
	}
}
