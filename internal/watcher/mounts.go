package watcher

import (
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
)

// An init may mount a file system over the directory of the private socket: systemd mounts
// /run if nothing is mounted there. inotify(7) does not report that, but the mount namespace's
// mountinfo does.

// mountEvents report one change of mountinfo (proc_pid_mounts(5)) until armMounts: a boot
// makes dozens, and the first is enough.
const mountEvents = unix.EPOLLPRI | unix.EPOLLONESHOT

type mounts struct {
	fd      int // -1 if it cannot be watched
	changed bool
}

// watchMounts watches the container's mounts. If that fails, other events have to suffice.
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

// armMounts waits for the next change.
func (w *Watcher) armMounts() {
	if w.mounts.fd >= 0 {
		_ = w.owner.Poll(w.mounts.fd, mountEvents) // the descriptor is known, so this cannot fail
	}
}
