package receiver

import (
	"errors"
	"syscall"
	"unsafe"

	"devlog/internal/logfile"

	"golang.org/x/sys/unix"
)

// A system call that blocks makes Go's scheduler hand over to other threads and
// back: at some thousand messages a second that costs several times what the
// messages do. So while messages come the receiver waits in a system call that
// the scheduler is not told of, and keeps the only processor (GOMAXPROCS) it
// has. Nothing else is to run: what a signal wakes up gets its turn when the
// scheduler's monitor asks for it, within some 50 ms, and while a file is being
// compressed there is a second processor and no such wait. The monitor runs up to a
// hundred times a second for as long, which is why a receiver that has had
// nothing to do for a moment blocks as everybody does: then nothing wakes it up.

// attentive is for how long in milliseconds, after something happened, the
// receiver waits for more without telling the scheduler.
const attentive = 50

// waiter waits for events of an epoll(7) instance.
type waiter struct {
	// busy says that something has happened a moment ago.
	busy bool
	// rest is called when nothing has happened for a moment, if it is set.
	rest func()
}

// wait waits for events, at most timeout milliseconds or, if that is -1, without
// end, and returns how many there are: 0 also when a signal came.
func (w *waiter) wait(epoll int, events []unix.EpollEvent, timeout int) (int, error) {
	if w.busy && !logfile.Compressing() {
		first := attentive
		if timeout >= 0 {
			first = min(first, timeout)
		}
		n, err := epollWaitRaw(epoll, events, first)
		if errors.Is(err, unix.EINTR) {
			keepThread() // it may be another one than before
		}
		if n > 0 || err != nil || first == timeout {
			return n, ignoreEINTR(err)
		}
		if w.rest != nil {
			w.rest()
		}
		if timeout > 0 {
			timeout -= first
		}
	}
	w.busy = false
	n, err := unix.EpollWait(epoll, events, timeout)
	if n > 0 {
		w.busy = true
	}
	keepThread()
	return max(n, 0), ignoreEINTR(err)
}

func ignoreEINTR(err error) error {
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

// epollWaitRaw is epoll_wait(2) unknown to the scheduler.
func epollWaitRaw(epoll int, events []unix.EpollEvent, timeout int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(timeout), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

var urgent = sigset(unix.SIGURG)

// keepThread has this thread woken up when it is due, and keeps away from it the
// signal by which the scheduler's monitor interrupts whoever has run for long
// (SIGURG, since Go 1.14): it would end the wait a hundred times a second. The
// scheduler gets what it wants at the next call of a function all the same. Go puts
// the mask back when it forks.
func keepThread() {
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, urgent, nil) // raw; without it all costs more
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, usualSlack, 0)
}

const (
	// usualSlack is the kernel's own, in nanoseconds.
	usualSlack = 50_000
	// slack is how much later in nanoseconds than they want the threads may be woken
	// up by the clock, but that of the loop.
	slack = 40_000_000
)

// calmMonitor has the scheduler's monitor wake up when the processor is awake
// anyway (PR_SET_TIMERSLACK, prctl(2)): else it does a hundred times a second while
// messages come, which at that rate costs as much as the messages do. What runs
// beside the loop may wait as much longer for its turn: wakeMonitor undoes it.
func calmMonitor() {
	setSlack(slack)
	keepThread()
}

func wakeMonitor() { setSlack(usualSlack) }

// setSlack sets it in every thread. It would wait for one that hangs.
func setSlack(ns uintptr) {
	if threadHangs() {
		return
	}
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, ns, 0) // without it all costs more
}
