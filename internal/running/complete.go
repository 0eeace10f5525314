package running

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/crash"
	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// Sees returns whether this process can see the receiver that a repair may have started before
// it was killed; see CompleteStart. It is false if the record is not of such a repair.
func Sees(r *changes.Changes, t *target.Target) bool {
	if r.Starting == 0 {
		return false
	}
	own, err := target.Namespace("self", "pid")
	return err == nil && (own == r.Starting || !t.Inside && t.PIDNS == r.Starting)
}

// CompleteStart completes a repair that was killed while it started a receiver: it records the
// newest receiver of the directory, and tells all others to end. The caller holds the target's
// lock.
func CompleteStart(r *changes.Changes, at *rootfs.Dir) error {
	var others []int
	// As this program's own user: the container's root cannot see the receivers.
	err := rootfs.AsSelf(func() (err error) {
		pid, older := newest(at)
		if others = older; pid != 0 {
			err = note(r, pid)
		}
		return err
	})
	if err != nil {
		return nil //nolint:nilerr // it has just ended: the record stays, and the caller looks again
	}
	if err := r.Write(at); err != nil {
		return err
	}
	crash.Point()
	_ = rootfs.AsSelf(func() error {
		for _, pid := range others { // the record names another receiver now, so they leave its files alone
			_ = Signal(pid, at, unix.SIGINT) // it may have ended
		}
		return nil
	})
	r.Starting = 0
	return r.Write(at)
}

// Signal sends a signal to the process if it is a receiver of that directory. Otherwise the
// error is ESRCH.
func Signal(pid int, at *rootfs.Dir, s unix.Signal) error {
	handle, err := pidfd.Open(pid)
	if err != nil {
		return err
	}
	defer handle.Close()
	if !isReceiverAt(pid, at) {
		return unix.ESRCH
	}
	if AtNode(pid) { // it has other containers too
		if s == unix.SIGINT {
			return endAtNode(at)
		}
		return errors.ErrUnsupported
	}
	return unix.PidfdSendSignal(int(handle.Fd()), s, nil, 0)
}

// newest returns the newest receiver of the directory, 0 for none, and all others.
func newest(at *rootfs.Dir) (pid int, others []int) {
	var since uint64
	for _, p := range In(at) {
		started, err := pidfd.StartTime(p)
		if err != nil {
			continue // it has ended
		}
		ticks, err := strconv.ParseUint(started, 10, 64)
		switch {
		case err != nil:
		case pid == 0:
			pid, since = p, ticks
		case ticks > since || ticks == since && p > pid:
			others = append(others, pid)
			pid, since = p, ticks
		default:
			others = append(others, p)
		}
	}
	return pid, others
}

// note records the process as the receiver. pid is its ID in this process's /proc.
func note(r *changes.Changes, pid int) error {
	proc := strconv.Itoa(pid)
	status, err := os.ReadFile("/proc/" + proc + "/status")
	ns, nerr := target.Namespace(proc, "pid")
	started, serr := pidfd.StartTime(pid)
	if err = errors.Join(err, nerr, serr); err != nil {
		return err
	}
	r.Receiver, r.PIDNS, r.Started, r.Unit = target.InnermostPID(string(status)), ns, started, ""
	if !r.Host {
		r.Unit = UnitOf(pid)
	}
	return nil
}

// Replace tells the receiver of the pidfd to end. The process with the ID pid has replaced it. A
// node replaces its own receivers.
func Replace(old *os.File, at *rootfs.Dir, pid int) {
	before, err := pidfd.PID(int(old.Fd()))
	switch {
	case err != nil || before == pid && AtNode(pid): // it has ended, or knows
	case AtNode(before):
		_ = endAtNode(at) // the record names another receiver now
	default:
		_ = unix.PidfdSendSignal(int(old.Fd()), unix.SIGINT, nil, 0)
	}
}
