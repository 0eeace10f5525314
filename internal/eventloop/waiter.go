package eventloop

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A system call that blocks makes Go's scheduler hand over to other threads and
// back: at some thousand messages a second that costs several times what the
// messages do. While events keep coming, the loop therefore waits in a system call
// that the scheduler does not know of, and keeps the only processor (GOMAXPROCS) it
// has. Other goroutines wait meanwhile: the scheduler's monitor gives them a turn
// within some 50 ms. The monitor runs up to a hundred times a second for as long,
// which is why a loop that has had nothing to do for a moment blocks in the usual
// way: then nothing wakes it up.

// attentive is for how long in milliseconds after an event the loop waits for more
// without telling the scheduler.
const attentive = 50

// waiter waits for events of an epoll(7) instance.
type waiter struct {
	busy bool // an event came a moment ago
	// shares says that another goroutine has work now, and idle is called when
	// nothing has happened for a moment; nil for neither.
	shares func() bool
	idle   func()
}

// SetShares has the loop give way to other goroutines while shares returns true.
func (l *Loop) SetShares(shares func() bool) { l.waiter.shares = shares }

// SetIdle has idle called when nothing has happened for a moment.
func (l *Loop) SetIdle(idle func()) { l.waiter.idle = idle }

// wait waits for events, at most timeout milliseconds, or without end if that is -1,
// and returns how many there are: 0 also when a signal came.
func (w *waiter) wait(epoll int, events []unix.EpollEvent, timeout int) (int, error) {
	if w.busy && (w.shares == nil || !w.shares()) {
		first := attentive
		if timeout >= 0 {
			first = min(first, timeout)
		}
		n, err := epollWaitRaw(epoll, events, first)
		if errors.Is(err, unix.EINTR) {
			KeepThread() // it may be another one than before
		}
		if n > 0 || err != nil || first == timeout {
			return n, ignoreEINTR(err)
		}
		if w.idle != nil {
			w.idle()
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
	KeepThread()
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

// KeepThread has this thread woken up on time, and keeps from it the signal by
// which the scheduler's monitor interrupts whoever has run for long (SIGURG, since Go
// 1.14), which would end the wait a hundred times a second. The scheduler gets what it
// wants at the next call of a function all the same. Go restores the mask when it
// forks.
func KeepThread() {
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, urgent, nil) // raw; without it all costs more
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, usualSlack, 0)
}

const (
	// usualSlack is the kernel's own, in nanoseconds.
	usualSlack = 50_000
	// slack is how much later than they want, in nanoseconds, the clock may wake up all
	// threads but the loop's.
	slack = 40_000_000
)

// CalmMonitor has the scheduler's monitor wake up when the processor is awake
// anyway (PR_SET_TIMERSLACK, prctl(2)): else it does a hundred times a second while
// messages come, which at that rate costs as much as the messages do. What runs
// beside the loop may wait as much longer for its turn: WakeMonitor undoes it.
func CalmMonitor() {
	setSlack(slack)
	KeepThread()
}

// WakeMonitor undoes CalmMonitor.
func WakeMonitor() { setSlack(usualSlack) }

// setSlack sets it in every thread. It would wait for one that hangs.
func setSlack(ns uintptr) {
	if ThreadHangs() {
		return
	}
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, ns, 0) // without it all costs more
}
