package receiver

import (
	"errors"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/internal/earlysignal"

	"golang.org/x/sys/unix"
)

// watchedPipe returns an epoll instance and the writing end of a pipe whose
// reading end it watches.
func watchedPipe(t *testing.T) (epoll int, in, out *os.File) {
	t.Helper()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	out, in, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); out.Close(); unix.Close(epoll) })
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(out.Fd())}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(out.Fd()), &event); err != nil {
		t.Fatal(err)
	}
	return epoll, in, out
}

// What is due later than epoll_wait(2) can say is no reason to be woken up at
// once, or never.
func TestTimeoutFarAway(t *testing.T) {
	r := newReceiver(&options{name: "box"}, nil)
	now := time.Now()
	for in, want := range map[time.Duration]int{
		-time.Second: 0, 1: 1, time.Second: 1000, 24 * 24 * time.Hour: 24 * 24 * 3600_000,
		30 * 24 * time.Hour: math.MaxInt32, 100 * 24 * time.Hour: math.MaxInt32,
	} {
		r.metrics.next = now.Add(in)
		if got := r.timeout(now); got != want {
			t.Errorf("in %v: %d, want %d", in, got, want)
		}
	}
}

func TestWaiter(t *testing.T) {
	epoll, in, out := watchedPipe(t)
	rested := 0
	w := waiter{rest: func() { rested++ }}
	var events [4]unix.EpollEvent
	if n, err := w.wait(epoll, events[:], 0); n != 0 || err != nil || w.busy {
		t.Errorf("without an event: %d, %v, busy %t", n, err, w.busy)
	}
	if _, err := in.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // blocking, then attentive
		n, err := w.wait(epoll, events[:], -1)
		if n != 1 || err != nil || !w.busy || int(events[0].Fd) != int(out.Fd()) {
			t.Errorf("an event: %d, %v, busy %t, %v", n, err, w.busy, events[0])
		}
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if n, err := w.wait(epoll, events[:], 1); n != 0 || err != nil || !w.busy || rested != 0 {
		t.Errorf("due before it is idle: %d, %v, busy %t, rested %d times", n, err, w.busy, rested)
	}
	for w.busy { // a signal ends the wait early
		if n, err := w.wait(epoll, events[:], attentive+1); n != 0 || err != nil {
			t.Errorf("idle: %d, %v", n, err)
		}
	}
	if rested != 1 {
		t.Errorf("rested %d times", rested)
	}
}

// The scheduler's signal does not end the wait of the thread that has it blocked.
func TestKeepThread(t *testing.T) {
	runtime.LockOSThread() // and end the thread with the test
	keepThread()
	if !isBlocked(t, unix.SIGURG) {
		t.Error("SIGURG is not blocked")
	}
}

// isBlocked reports whether this thread has the signal blocked.
func isBlocked(t *testing.T, s unix.Signal) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "SigBlk:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return mask>>(s-1)&1 == 1
		}
	}
	t.Fatal("no SigBlk in the thread's status")
	return false
}

// A program that replaces this one has no signal blocked but those that are to
// wait for it; if that fails, all is as before.
func TestHoldSignals(t *testing.T) {
	runtime.LockOSThread() // and end the thread with the test
	keepThread()
	s := &signals{pipe: [2]int{-1, -1}}
	s.forward(earlysignal.Catch())
	old, err := s.hold()
	if err != nil {
		t.Fatal(err)
	}
	if isBlocked(t, unix.SIGURG) || !isBlocked(t, unix.SIGUSR1) || !isBlocked(t, unix.SIGTERM) {
		t.Error("held: not the right signals are blocked")
	}
	s.release(old)
	if !isBlocked(t, unix.SIGURG) || isBlocked(t, unix.SIGUSR1) || isBlocked(t, unix.SIGTERM) {
		t.Error("released: not the right signals are blocked")
	}
	signal.Stop(s.caught)
	close(s.caught)
	<-s.done
}

func TestBatchRests(t *testing.T) {
	b, err := newBatch(false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b.memory)
	for _, tt := range []struct {
		used  int
		after byte
	}{{keptSlots, 'x'}, {keptSlots + 1, 0}} {
		b.memory[0], b.used = 'x', tt.used
		b.rest()
		if b.memory[0] != tt.after {
			t.Errorf("after %d messages at once the memory holds %q", tt.used, b.memory[0])
		}
	}
}

// An event of a file that was closed, but that a child has as well until it
// executes its program, is nobody's.
func TestStaleEvent(t *testing.T) {
	r := newReceiver(&options{name: "box"}, nil)
	var err error
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var stale [2]int
	if err := errors.Join(unix.Pipe(stale[:]), unix.Pipe2(r.signals.pipe[:], unix.O_NONBLOCK)); err != nil {
		t.Fatal(err)
	}
	childs, err := unix.Dup(stale[0])
	if err = errors.Join(err, r.watch(stale[0]), r.watch(r.signals.pipe[0]), unix.Close(stale[0])); err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{stale[1], r.signals.pipe[1]} {
		if _, err := unix.Write(fd, []byte{byte(unix.SIGTERM)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.loop(); err != nil {
		t.Error(err)
	}
	for _, fd := range []int{childs, stale[1], r.signals.pipe[0], r.signals.pipe[1], r.epoll} {
		_ = unix.Close(fd)
	}
}
