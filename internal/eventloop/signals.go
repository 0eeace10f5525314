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

// NewSignals takes the signals from a channel to which signal.Notify sends these.
func NewSignals(from chan os.Signal, which ...os.Signal) (*Signals, error) {
	s := &Signals{which: which}
	if err := unix.Pipe2(s.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("create a pipe for signals: %w", err)
	}
	s.forward(from)
	return s, nil
}

// Handle has handle called for each signal, and once with 0 after each call of Wake.
func (l *Loop) Handle(s *Signals, handle func(unix.Signal)) error {
	l.signals = s
	return l.Add(s.pipe[0], func() error { s.Take(handle); return nil })
}

// Take calls handle for what is in the pipe.
func (s *Signals) Take(handle func(unix.Signal)) {
	var buf [64]byte
	n, _ := unix.Read(s.pipe[0], buf[:]) // an empty pipe does not block
	for _, b := range buf[:max(n, 0)] {
		handle(unix.Signal(b))
	}
}

func (s *Signals) forward(from chan os.Signal) {
	s.caught, s.done = from, make(chan struct{})
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

// Hold prepares for execve(2): after it every signal caught so far is in the pipe, and
// no signal has the default action. execve(2) resets caught signals to that; it keeps
// ignored signals ignored, and signals that the executing thread blocks pending.
//
// SIGUSR1 and SIGUSR2 are blocked, and reach the new program. SIGTERM, SIGINT and SIGHUP
// cannot: Go's runtime unblocks them before anything can catch them (runtime.minit and
// blockableSig), so they are ignored. A SIGHUP is as good as done, since the new program
// opens all files. A SIGTERM or SIGINT is lost that comes between here and the start of
// the new program's runtime, and a SIGTERM between that and package earlysignal ends it:
// less than a millisecond each.
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

// Release undoes Hold; from is as for NewSignals.
func (s *Signals) Release(from chan os.Signal, old unix.Sigset_t) {
	s.forward(from)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // it worked to set another
}

// Pending reports whether a signal is in the pipe.
func (s *Signals) Pending() bool {
	fds := []unix.PollFd{{Fd: int32(s.pipe[0]), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// Fetch puts the signals into the pipe that wait for a thread which is stuck. The
// kernel gives a signal to any thread, and a thread that waits for a file system does
// not take it (complete_signal in kernel/signal.c).
func (s *Signals) Fetch() {
	set, now := sigset(s.which...), unix.Timespec{}
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(set)), 0, uintptr(unsafe.Pointer(&now)), kernelSigset, 0, 0)
		if err != 0 {
			return
		}
		_, _ = unix.Write(s.pipe[1], []byte{byte(n)}) // a full pipe wakes up as well
	}
}

// kernelSigset is the size in bytes of the kernel's sigset_t (not on MIPS, which has
// twice as many signals: there a signal waits with the thread).
const kernelSigset = 8

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
