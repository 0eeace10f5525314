package receiver

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/earlysignal"
	"devlog/internal/pidfd"
	"devlog/internal/syslog"
)

// wakeUp in the pipe of signals is none, and only wakes up.
const wakeUp = 0

// signals makes every signal a byte in a pipe, for epoll.
type signals struct {
	pipe   [2]int // read and write end
	caught chan os.Signal
	done   chan struct{} // closed when every signal is in the pipe
}

// catchSignals begins to catch signals.
func (r *receiver) catchSignals() error {
	if err := unix.Pipe2(r.signals.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe for signals: %w", err)
	}
	r.signals.forward(earlysignal.Take())
	return r.watch(r.signals.pipe[0])
}

func (s *signals) forward(from chan os.Signal) {
	s.caught, s.done = from, make(chan struct{})
	go func(to int, done chan struct{}) {
		for s := range from {
			if n, ok := s.(unix.Signal); ok {
				_, _ = unix.Write(to, []byte{byte(n)}) // a full pipe wakes up as well
			}
		}
		close(done)
	}(s.pipe[1], s.done)
}

// wake wakes the receiver up. Any goroutine may call it.
func (s *signals) wake() { _, _ = unix.Write(s.pipe[1], []byte{wakeUp}) }

// hold prepares for execve(2): after it every signal caught so far is in the pipe, and
// no signal has the default action. execve(2) resets caught signals to that; it keeps
// ignored signals ignored, and signals that the executing thread blocks pending.
//
// SIGUSR1 and SIGUSR2 are blocked, and reach the new program. SIGTERM, SIGINT and SIGHUP
// cannot: Go's runtime unblocks them before anything can catch them (runtime.minit and
// blockableSig), so they are ignored. A SIGHUP is as good as done, since the new program
// opens all files. A SIGTERM or SIGINT is lost that comes between here and the start of
// the new program's runtime, and a SIGTERM between that and package earlysignal ends it:
// less than a millisecond each.
func (s *signals) hold() (old unix.Sigset_t, err error) {
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, sigset(earlysignal.Caught...), &old); err != nil {
		return old, fmt.Errorf("block signals: %w", err)
	}
	// What keepThread has blocked would be so in every thread of the new program.
	if err := unix.PthreadSigmask(unix.SIG_UNBLOCK, sigset(unix.SIGURG), nil); err != nil {
		return old, fmt.Errorf("unblock SIGURG: %w", errors.Join(err, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)))
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	signal.Stop(s.caught)
	close(s.caught)
	<-s.done
	return old, nil
}

// release undoes hold.
func (s *signals) release(old unix.Sigset_t) {
	s.forward(earlysignal.Catch())
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // it worked to set another
}

// pending reports whether there is something in the pipe.
func (s *signals) pending() bool {
	fds := []unix.PollFd{{Fd: int32(s.pipe[0]), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// fetch puts the signals into the pipe that wait for a thread which is stuck. The
// kernel gives a signal to any thread, and a thread that waits for a file system does
// not take it (complete_signal in kernel/signal.c).
func (s *signals) fetch() {
	set, now := sigset(earlysignal.Caught...), unix.Timespec{}
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
			r.hangUp()
		case unix.SIGUSR1:
			r.account()
		case unix.SIGUSR2:
			r.startUpgrade()
		case unix.SIGTERM:
			end = !r.awaitContainer() || end
		default:
			end = true
		}
	}
	return end
}

// awaitContainer handles SIGTERM, and reports whether the receiver goes on because
// its container still lives. At a host's shutdown, and when systemd stops the cgroup
// that the receiver was started in, that signal comes with the container's own or
// before it: the container's last messages are yet to come.
func (r *receiver) awaitContainer() bool {
	if r.inside || r.init < 0 || pidfd.Ended(r.init) {
		return false
	}
	if !r.awaits {
		r.awaits = true
		r.say(syslog.Notice, "received SIGTERM: devlogd keeps running until its container ends; to end it now, run: kill -INT "+string(r.router.PID))
	}
	return true
}
