package receiver

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/syslogconf"
)

// directReceiver returns a receiver with one datagram socket, and the other end
// of that.
func directReceiver(t *testing.T) (r *receiver, sender int) {
	t.Helper()
	r = newReceiver(&options{name: "box"}, nil)
	var err error
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if r.batch, err = newBatch(false); err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.sockets = []*socket{{fd: pair[0]}}
	if err := r.watch(pair[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range []int{pair[0], pair[1], r.epoll} {
			_ = unix.Close(fd)
		}
		_ = unix.Munmap(r.batch.memory)
	})
	return r, pair[1]
}

// closely tells the receiver of this many events of its socket, a moment apart.
func closely(r *receiver, n int, gap time.Duration) {
	now := time.Now()
	r.direct.last = now
	for range n {
		now = now.Add(gap)
		r.noteEvents([]unix.EpollEvent{{Fd: int32(r.sockets[0].fd)}}, now)
	}
}

// Messages that follow each other closely are received without the epoll, until
// they do not.
func TestDirect(t *testing.T) {
	r, sender := directReceiver(t)
	send := func() {
		if _, err := unix.Write(sender, []byte("<13>test: message")); err != nil {
			t.Fatal(err)
		}
	}
	var events [4]unix.EpollEvent
	next := func(want int) {
		t.Helper()
		if n, err := r.next(events[:], time.Now()); n != want || err != nil {
			t.Fatalf("%d events, %v; want %d", n, err, want)
		}
	}
	closely(r, directAfter-1, directGap)
	if r.direct.socket != nil {
		t.Fatal("waited for directly after too few events")
	}
	closely(r, 1, directGap)
	if r.direct.socket != r.sockets[0] {
		t.Fatal("not waited for directly")
	}
	send()
	send()
	next(0)
	if r.received != 2 {
		t.Errorf("received %d messages", r.received)
	}
	next(0) // none for a moment
	if r.direct.socket != nil {
		t.Error("still waited for directly")
	}
	send()
	next(1)
	if int(events[0].Fd) != r.sockets[0].fd {
		t.Error("the epoll tells of something else")
	}
}

// While messages come, all else that may happen is looked at.
func TestDirectLooks(t *testing.T) {
	r, sender := directReceiver(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if err := r.watch(pipe[0]); err != nil {
		t.Fatal(err)
	}
	closely(r, directAfter, 0)
	if _, err := unix.Write(pipe[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	var events [4]unix.EpollEvent
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if _, err := unix.Write(sender, []byte("more")); err != nil {
			t.Fatal(err)
		}
		n, err := r.next(events[:], time.Now())
		if err != nil || r.direct.socket == nil {
			t.Fatalf("%v; waited for directly: %t", err, r.direct.socket != nil)
		}
		if n == 1 && int(events[0].Fd) == pipe[0] {
			return
		}
	}
	t.Error("the pipe was not looked at")
}

// What is not to be waited for directly is left to the epoll.
func TestNotDirect(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *receiver){
		"seldom":        func(*testing.T, *receiver) {},
		"two sockets":   func(_ *testing.T, r *receiver) { r.sockets = append(r.sockets, &socket{fd: -1}) },
		"connections":   func(_ *testing.T, r *receiver) { r.sockets[0].stream = true },
		"kernel's log":  func(_ *testing.T, r *receiver) { r.kernel = &kernelSource{fd: -1} },
		"limited":       func(_ *testing.T, r *receiver) { r.limits.rate = syslogconf.Rate{N: 1, Per: time.Second} },
		"does not wait": func(t *testing.T, r *receiver) { nonblock(t, r.sockets[0].fd) },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := directReceiver(t)
			change(t, r)
			gap := directGap
			if name == "seldom" {
				gap++
			}
			closely(r, 2*directAfter, gap)
			if r.direct.socket != nil {
				t.Error("waited for directly")
			}
		})
	}
}

func nonblock(t *testing.T, fd int) {
	t.Helper()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
}

// A socket that was given up, or is not the only one any more, is not waited for
// directly; the epoll tells of one that is still there.
func TestDirectEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*receiver, *socket)
		told   int
	}{
		{"another one", func(r *receiver, s *socket) { r.sockets = append(r.sockets, s) }, 1},
		{"replaced", func(r *receiver, s *socket) { r.sockets[0] = s }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, sender := directReceiver(t)
			closely(r, directAfter, 0)
			tt.change(r, &socket{fd: -1})
			if _, err := unix.Write(sender, []byte("message")); err != nil {
				t.Fatal(err)
			}
			var events [4]unix.EpollEvent
			if n, err := r.next(events[:], time.Now()); n != 0 || err != nil || r.direct.socket != nil {
				t.Errorf("%d events, %v; waited for directly: %t", n, err, r.direct.socket != nil)
			}
			if n, err := epollWaitRaw(r.epoll, events[:], 0); n != tt.told || err != nil {
				t.Errorf("the epoll tells of %d events, %v; want %d", n, err, tt.told)
			}
		})
	}
}

// The monitor may be late, but not the loop.
func TestCalmMonitor(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	calmMonitor()
	defer wakeMonitor()
	late := 0
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if err != nil {
			t.Skip("the kernel, or the lack of CAP_SYS_NICE, does not let us see it: ", err)
		}
		id, _ := strconv.Atoi(thread.Name())
		got, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		if id == unix.Gettid() && got != usualSlack {
			t.Errorf("the loop's thread has %d ns", got)
		}
		if got == slack {
			late++
		}
	}
	if late == 0 {
		t.Error("no thread may be late")
	}
}
