package eventloop

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWaiter(t *testing.T) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll)
	out, in := pipe(t)
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(out.Fd())}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(out.Fd()), &event); err != nil {
		t.Fatal(err)
	}
	rested, shared := 0, false
	w := waiter{idle: func() { rested++ }, shares: func() bool { return shared }}
	var events [4]unix.EpollEvent
	if n, err := w.wait(epoll, events[:], 0); n != 0 || err != nil || w.busy {
		t.Errorf("without an event: %d, %v, busy %t", n, err, w.busy)
	}
	write(t, in)
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
	w.busy, shared = true, true // another goroutine has work: it blocks in the usual way
	if n, err := w.wait(epoll, events[:], 1); n != 0 || err != nil || w.busy || rested != 1 {
		t.Errorf("shared: %d, %v, busy %t, rested %d times", n, err, w.busy, rested)
	}
}

// untilIn waits until the thread is in that system call (/proc/PID/task/TID/syscall of proc(5)).
func untilIn(thread int, call uintptr) error {
	file, number := fmt.Sprintf("/proc/self/task/%d/syscall", thread), strconv.Itoa(int(call))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(file)
		if now, _, _ := strings.Cut(string(text), " "); err != nil || now == number {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("thread %d is not in call %s: %s", thread, number, text)
		}
	}
}

// The scheduler's signal does not end the wait, and reaches the thread afterwards.
func TestWaitWithoutUrgentSignal(t *testing.T) {
	runtime.LockOSThread() // and end the thread with the test
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll)
	self, thread := os.Getpid(), unix.Gettid()
	sent := make(chan error)
	go func() {
		err := untilIn(thread, unix.SYS_EPOLL_PWAIT)
		sent <- errors.Join(err, unix.Tgkill(self, thread, unix.SIGURG))
	}()
	began := time.Now()
	var events [1]unix.EpollEvent
	if n, err := epollWaitRaw(epoll, events[:], attentive); n != 0 || err != nil || time.Since(began) < attentive*time.Millisecond {
		t.Errorf("%d, %v after %v", n, err, time.Since(began))
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if isBlocked(t, unix.SIGURG) {
		t.Error("SIGURG stays blocked")
	}
}

// isBlocked returns whether this thread has the signal blocked.
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

// A program that replaces this one has only those signals blocked that are to wait for it. If
// the replacement fails, everything is as before.
func TestHoldSignals(t *testing.T) {
	runtime.LockOSThread() // and end the thread with the test
	s := catch(t, unix.SIGUSR1, unix.SIGTERM)
	old, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if isBlocked(t, unix.SIGURG) || !isBlocked(t, unix.SIGUSR1) || !isBlocked(t, unix.SIGTERM) {
		t.Error("held: not the right signals are blocked")
	}
	again := make(chan os.Signal, 64)
	signal.Notify(again, unix.SIGUSR1, unix.SIGTERM)
	s.Release(again, old)
	if isBlocked(t, unix.SIGURG) || isBlocked(t, unix.SIGUSR1) || isBlocked(t, unix.SIGTERM) {
		t.Error("released: not the right signals are blocked")
	}
	s.close()
}
