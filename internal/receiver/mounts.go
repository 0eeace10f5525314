package receiver

import (
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
)

// An init may mount a file system over the directory of the private socket:
// systemd does over /run, where nothing has been mounted yet. inotify(7) tells
// nothing of that, but a mount namespace's table of mounts does.

// mountEvents are once a change of the table (proc_pid_mounts(5)), until
// armMounts: a start has dozens, of which the first one says enough.
const mountEvents = unix.EPOLLPRI | unix.EPOLLONESHOT

// watchMounts watches the container's mounts. Where that cannot be, the repair
// is kept as far as the other events tell.
func (r *receiver) watchMounts() {
	k := r.keeper
	process := "self"
	if r.init >= 0 {
		pid, err := pidfd.PID(r.init)
		if err != nil {
			return
		}
		process = strconv.Itoa(pid)
	}
	fd, err := unix.Open("/proc/"+process+"/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	event := unix.EpollEvent{Events: mountEvents, Fd: int32(fd)}
	if unix.EpollCtl(k.epoll, unix.EPOLL_CTL_ADD, fd, &event) != nil {
		_ = unix.Close(fd)
		return
	}
	k.mounts = fd
}

// armMounts waits for the next change of the mounts.
func (k *keeper) armMounts() {
	if k.mounts < 0 {
		return
	}
	event := unix.EpollEvent{Events: mountEvents, Fd: int32(k.mounts)}
	_ = unix.EpollCtl(k.epoll, unix.EPOLL_CTL_MOD, k.mounts, &event) // nothing of it can fail
}
