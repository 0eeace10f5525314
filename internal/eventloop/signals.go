package eventloop

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeUp in the pipe stands for no signal.
const wakeUp = 0

// Signals makes every signal a byte in a pipe, which a loop can wait for.
type Signals struct {
	which  []os.Signal
	pipe   [2]int // read and write end
	caught chan os.Signal
	done   chan struct{} // closed when every signal caught is in the pipe
}

// Catch begins to catch these signals. A program that replaces another one calls it
// first of all, because until then a signal ends it.
func Catch(which ...os.Signal) (*Signals, error) {
	s := &Signals{which: which, caught: make(chan os.Signal, 64)}
	signal.Notify(s.caught, which...)
	if err := unix.Pipe2(s.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("create a pipe for signals: %w", err)
	}
	s.forward()
	return s, nil
}

// Handle has handle called for each signal. An error of it ends Run.
func (l *Loop) Handle(s *Signals, handle func(unix.Signal) error) error {
	l.signals = s
	return l.Add(s.pipe[0], func() error {
		var buf [64]byte
		n, _ := unix.Read(s.pipe[0], buf[:]) // without one it does not block
		var errs []error
		for _, b := range buf[:max(n, 0)] {
			if b != wakeUp {
				errs = append(errs, handle(unix.Signal(b)))
			}
		}
		return errors.Join(errs...)
	})
}

func (s *Signals) forward() {
	s.done = make(chan struct{})
	go func(from chan os.Signal, to int, done chan struct{}) {
		for s := range from {
			if n, ok := s.(unix.Signal); ok {
				_, _ = unix.Write(to, []byte{byte(n)}) // a full pipe wakes up as well
			}
		}
		close(done)
	}(s.caught, s.pipe[1], s.done)
}

// Wake ends the loop's wait. Any goroutine may call it.
func (s *Signals) Wake() { _, _ = unix.Write(s.pipe[1], []byte{wakeUp}) }

// Hold prepares for the program to be replaced by another one: every signal
// caught so far is in the pipe then, and none that comes has the default action.
// execve(2) resets what is caught to that, but keeps what is ignored, and what
// the executing thread blocks waits. Go's runtime unblocks SIGHUP, SIGINT and
// SIGTERM before anything can catch them, so that these are ignored: SIGHUP is
// as good as done, since the new program opens all files.
func (s *Signals) Hold() (old unix.Sigset_t, err error) {
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, sigset(s.which...), &old); err != nil {
		return old, fmt.Errorf("block signals: %w", err)
	}
	// What KeepThread has blocked would be so in every thread of the new program.
	if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, urgent, nil); err != nil {
		return old, fmt.Errorf("unblock SIGURG: %w", errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)))
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	s.stop()
	return old, nil
}

// Release undoes Hold.
func (s *Signals) Release(old unix.Sigset_t) {
	s.caught = make(chan os.Signal, 64)
	signal.Notify(s.caught, s.which...)
	s.forward()
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // it worked to set another
}

// Pending reports whether a signal is in the pipe.
func (s *Signals) Pending() bool {
	fds := []unix.PollFd{{Fd: int32(s.pipe[0]), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

func (s *Signals) stop() {
	signal.Stop(s.caught)
	close(s.caught)
	<-s.done
}

// close ends catching and closes the pipe.
func (s *Signals) close() {
	s.stop()
	_ = unix.Close(s.pipe[0])
	_ = unix.Close(s.pipe[1])
}

// sigset is a set of signals as the kernel takes it.
func sigset(signals ...os.Signal) *unix.Sigset_t {
	set := new(unix.Sigset_t)
	const bits = 8 * int(unsafe.Sizeof(set.Val[0]))
	for _, s := range signals {
		if n, ok := s.(unix.Signal); ok {
			set.Val[(int(n)-1)/bits] |= 1 << ((int(n) - 1) % bits)
		}
	}
	return set
}
