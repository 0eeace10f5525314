package receiver

import (
	"fmt"
	"os"
	"os/signal"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// caught are the signals that are handled.
var caught = []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2}

// wakeUp in the pipe of signals is none, and only wakes up.
const wakeUp = 0

// signals makes every signal a byte in a pipe, for epoll.
type signals struct {
	pipe   [2]int // read and write end
	caught chan os.Signal
	done   chan struct{} // closed when every signal is in the pipe
	// blocked says that every thread but the runtime's own for signals blocks
	// them: the program before this one has left it so.
	blocked bool
}

// catchSignals begins to catch signals.
func (r *receiver) catchSignals() error {
	if err := unix.Pipe2(r.signals.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe for signals: %w", err)
	}
	r.signals.blocked = blocksSignals()
	r.signals.notify()
	return r.watch(r.signals.pipe[0])
}

func (s *signals) notify() {
	s.caught, s.done = make(chan os.Signal, 8), make(chan struct{})
	signal.Notify(s.caught, caught...)
	go func(from chan os.Signal, to int, done chan struct{}) {
		for s := range from {
			if n, ok := s.(unix.Signal); ok {
				_, _ = unix.Write(to, []byte{byte(n)}) // a full pipe wakes up as well
			}
		}
		close(done)
	}(s.caught, s.pipe[1], s.done)
}

// wake wakes the receiver up. Any goroutine may call it.
func (s *signals) wake() { _, _ = unix.Write(s.pipe[1], []byte{wakeUp}) }

// hold has the thread block the signals: the program that replaces this one
// inherits that, so that a signal waits until it is caught there. Where every
// other thread blocks them too, no signal is taken here from now on, and those
// that were are in the pipe. In a program that was started with the signals
// unblocked another thread may take one in the instant before it is replaced;
// that one is forgotten, but kills nobody.
func (s *signals) hold() (old unix.Sigset_t, err error) {
	set := signalSet()
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old); err != nil {
		return old, fmt.Errorf("block signals: %w", err)
	}
	if s.blocked {
		signal.Stop(s.caught)
		close(s.caught)
		<-s.done
	}
	return old, nil
}

// release undoes hold.
func (s *signals) release(old unix.Sigset_t) {
	if s.blocked {
		s.notify()
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // it worked to set another
}

// pending reports whether there is something in the pipe.
func (s *signals) pending() bool {
	fds := []unix.PollFd{{Fd: int32(s.pipe[0]), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// signalSet is caught as the kernel takes it.
func signalSet() (set unix.Sigset_t) {
	const bits = 8 * int(unsafe.Sizeof(set.Val[0]))
	for _, s := range caught {
		n := int(s.(unix.Signal)) - 1
		set.Val[n/bits] |= 1 << (n % bits)
	}
	return set
}

// blocksSignals reports whether this program was started with SIGTERM blocked.
func blocksSignals() bool {
	var mask unix.Sigset_t
	set := signalSet()
	return unix.PthreadSigmask(unix.SIG_BLOCK, nil, &mask) == nil && mask.Val[0]&set.Val[0] == set.Val[0]
}

// onSignal handles the signals caught so far and reports whether to end.
func (r *receiver) onSignal() (end bool) {
	var buf [64]byte
	n, err := unix.Read(r.signals.pipe[0], buf[:])
	if err != nil {
		return false // nothing there after all
	}
	for _, s := range buf[:n] {
		switch unix.Signal(s) {
		case wakeUp:
		case unix.SIGHUP:
			r.reopens++
			for _, route := range r.routes {
				route.out.Reopen(time.Now())
			}
		case unix.SIGUSR1:
			r.account()
		case unix.SIGUSR2:
			r.startUpgrade()
		default:
			end = true
		}
	}
	return end
}
