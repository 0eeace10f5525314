package eventloop

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A system call that blocks makes Go's scheduler switch threads: at some thousand messages a
// second that costs several times as much as the messages. So while events keep coming, the
// loop waits in a system call that the scheduler does not see, and keeps its only processor
// (GOMAXPROCS). Other goroutines wait meanwhile: the scheduler's monitor gives them a turn
// within about 50 ms. For that the monitor runs up to a hundred times a second, so after a
// moment without events the loop blocks as usual. Then nothing wakes up.

// attentive is how long after an event the loop waits without telling the scheduler, in
// milliseconds.
const attentive = 50

// waiter waits for events of an epoll(7) instance.
type waiter struct {
	busy bool // an event came recently
	// shares returns whether another goroutine has work now. idle is called after a moment
	// without events. Both may be nil.
	shares func() bool
	idle   func()
}

// SetShares makes the loop yield to other goroutines while shares returns true.
func (l *Loop) SetShares(shares func() bool) { l.waiter.shares = shares }

// SetIdle makes the loop call idle after a moment without events.
func (l *Loop) SetIdle(idle func()) { l.waiter.idle = idle }

// wait waits for events, at most timeout milliseconds (-1: without limit), and returns how
// many there are. It also returns 0 after a signal.
func (w *waiter) wait(epoll int, events []unix.EpollEvent, timeout int) (int, error) {
	if w.busy && (w.shares == nil || !w.shares()) {
		first := attentive
		if timeout >= 0 {
			first = min(first, timeout)
		}
		n, err := epollWaitRaw(epoll, events, first)
		if errors.Is(err, unix.EINTR) {
			KeepThread() // the thread may have changed
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

// epollWaitRaw is epoll_wait(2) without telling the scheduler, and without SIGURG. The
// scheduler's monitor sends that signal to preempt a goroutine that has run for long (since Go
// 1.14), which would end the wait a hundred times a second. Any other call gets it: by that one
// that waits is interrupted, see package intake.
func epollWaitRaw(epoll int, events []unix.EpollEvent, timeout int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(timeout),
		uintptr(unsafe.Pointer(urgent)), kernelSigset)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

var urgent = sigset(unix.SIGURG)

// KeepThread makes the kernel wake this thread on time.
func KeepThread() {
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, usualSlack, 0) // without it everything costs more
}

const (
	// usualSlack is the kernel's default, in nanoseconds.
	usualSlack = 50_000
	// slack is how late the kernel may wake the threads other than the loop's, in nanoseconds.
	slack = 40_000_000
)

// CalmMonitor lets the scheduler's monitor wake up late, when the processor is awake anyway
// (PR_SET_TIMERSLACK, prctl(2)). Otherwise it wakes up a hundred times a second while messages
// come, which at a low rate costs as much as the messages. Other goroutines may wait longer
// for their turn: WakeMonitor undoes it.
func CalmMonitor() {
	setSlack(slack)
	KeepThread()
}

// WakeMonitor undoes CalmMonitor.
func WakeMonitor() { setSlack(usualSlack) }

// setSlack sets the slack of every thread. Do not call it while a thread hangs: it would wait
// for that thread.
func setSlack(ns uintptr) {
	if ThreadHangs() {
		return
	}
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, ns, 0) // without it everything costs more
}
