package eventloop

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeUp is a byte in the pipe that means no signal.
const wakeUp = 0

// Signals writes every signal as a byte to a pipe, which a loop can wait for.
type Signals struct {
	which  []os.Signal
	pipe   [2]int // read and write end
	caught chan os.Signal
	done   chan struct{} // closed when every caught signal is in the pipe
}

// NewSignals catches these signals. from is a channel that signal.Notify sends them to.
func NewSignals(from chan os.Signal, which ...os.Signal) (*Signals, error) {
	s := &Signals{which: which}
	if err := unix.Pipe2(s.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot create a pipe for signals: %w", err)
	}
	s.forward(from)
	return s, nil
}

// Handle makes the loop call handle for each signal, and with 0 after each Wake.
func (l *Loop) Handle(s *Signals, handle func(unix.Signal)) error {
	l.signals = s
	return l.Add(s.pipe[0], func() { s.Take(handle) })
}

// Take calls handle for each byte in the pipe.
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
				_, _ = unix.Write(to, []byte{byte(n)}) // a full pipe wakes the loop too
			}
		}
		close(done)
	}(s.caught, s.pipe[1], s.done)
}

// Wake ends the loop's wait. Any goroutine may call it.
func (s *Signals) Wake() { _, _ = unix.Write(s.pipe[1], []byte{wakeUp}) }

// Hold prepares for execve(2). After it, every caught signal is in the pipe, and no signal has
// the default action: execve(2) would reset caught signals to that. It keeps ignored signals
// ignored, and blocked signals pending.
//
// SIGUSR1 and SIGUSR2 are blocked, and reach the new program. SIGTERM, SIGINT and SIGHUP are
// ignored, because Go's runtime would unblock them before the new program can catch them
// (runtime.minit and blockableSig). Losing a SIGHUP does no harm, since the new program opens
// all files. A SIGTERM or SIGINT is lost if it comes between here and the start of the new
// program's runtime. A SIGTERM between that and package earlysignal ends the new program. Each
// takes less than a millisecond.
func (s *Signals) Hold() (old unix.Sigset_t, err error) {
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, sigset(s.which...), &old); err != nil {
		return old, fmt.Errorf("cannot block signals: %w", err)
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	s.stop()
	return old, nil
}

// Release undoes Hold. from is the channel of NewSignals.
func (s *Signals) Release(from chan os.Signal, old unix.Sigset_t) {
	s.forward(from)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // blocking worked, so this does too
}

// Pending returns whether a signal is in the pipe.
func (s *Signals) Pending() bool {
	fds := []unix.PollFd{{Fd: int32(s.pipe[0]), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// Fetch moves signals that are pending for a stuck thread to the pipe. The kernel may give a
// signal to any thread, and a thread that waits for a file system does not handle it
// (complete_signal in kernel/signal.c).
func (s *Signals) Fetch() {
	set, now := sigset(s.which...), unix.Timespec{}
	for {
		n, _, err := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(set)), 0, uintptr(unsafe.Pointer(&now)), kernelSigset, 0, 0)
		if err != 0 {
			return
		}
		_, _ = unix.Write(s.pipe[1], []byte{byte(n)}) // a full pipe wakes the loop too
	}
}

// kernelSigset is the size of the kernel's sigset_t in bytes. MIPS has twice as many signals.
var kernelSigset = func() uintptr {
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		return 16
	}
	return 8
}()

func (s *Signals) stop() {
	signal.Stop(s.caught)
	close(s.caught)
	<-s.done
}

// close stops catching signals and closes the pipe.
func (s *Signals) close() {
	s.stop()
	_ = unix.Close(s.pipe[0])
	_ = unix.Close(s.pipe[1])
}

// sigset returns the signals as the kernel's set.
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
