package watchdog

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// hang is a call that hangs until it is let go.
type hang struct {
	let                 chan struct{}
	abandoned, returned atomic.Bool
}

func (h *hang) Run(time.Time) { <-h.let }
func (h *hang) Abandoned()    { h.abandoned.Store(true) }
func (h *hang) Returned()     { h.returned.Store(true) }

func newHang() *hang { return &hang{let: make(chan struct{})} }

// quick is a call that does not hang.
type quick struct{ t *testing.T }

func (q quick) Run(time.Time) {}
func (q quick) Abandoned()    { q.t.Error("abandoned") }
func (q quick) Returned()     { q.t.Error("returned") }

func within(t *testing.T, what string, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: not so in time", what)
		return ""
	}
}

// testLoop makes the calls that it is given. It says what it does.
type testLoop struct {
	dog   *Watchdog
	calls chan Call
	says  chan string
}

func newTestLoop() *testLoop {
	l := &testLoop{calls: make(chan Call, 10), says: make(chan string, 10)}
	ready := make(chan struct{})
	go func() { // it is the main one
		l.dog = New(func() { l.says <- "elsewhere"; l.run(); l.says <- "left" }, func() { l.calls <- nil })
		close(ready)
		l.run()
	}()
	<-ready
	return l
}

func (l *testLoop) run() {
	for c := range l.calls {
		if l.dog.Yield() {
			return
		}
		if c == nil {
			continue
		}
		l.dog.Top(true)
		l.dog.Run(c, time.Now())
		l.dog.Top(false)
		l.says <- "done"
	}
}

// While a call hangs, another goroutine runs the loop and its calls, of which another may hang.
// The loop comes back when the first call returns.
func TestHang(t *testing.T) {
	l := newTestLoop()
	l.calls <- quick{t}
	within(t, "a call", l.says)
	first, second := newHang(), newHang()
	l.calls <- first
	if s := within(t, "another goroutine", l.says); s != "elsewhere" || !first.abandoned.Load() {
		t.Fatalf("%s, abandoned %v", s, first.abandoned.Load())
	}
	l.calls <- quick{t}
	within(t, "a call elsewhere", l.says)
	l.calls <- second
	if s := within(t, "a third goroutine", l.says); s != "elsewhere" || !second.abandoned.Load() {
		t.Fatalf("%s, abandoned %v", s, second.abandoned.Load())
	}
	close(second.let) // its goroutine has nothing to go back to
	l.calls <- quick{t}
	within(t, "a call", l.says)
	close(first.let)
	got := []string{within(t, "the first call's end", l.says), within(t, "the loop is given back", l.says)}
	if slices.Sort(got); !slices.Equal(got, []string{"done", "left"}) {
		t.Errorf("%q", got)
	}
	l.calls <- quick{t}
	within(t, "a call", l.says)
	if !first.returned.Load() || !second.returned.Load() {
		t.Error("a call has not returned")
	}
}

// A watchdog that has nothing to watch lets the process sleep.
func TestRests(t *testing.T) {
	l := newTestLoop()
	l.calls <- quick{t}
	within(t, "a call", l.says)
	for deadline := time.Now().Add(30 * time.Second); l.dog.armed.Load(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not rest")
		}
	}
	h := newHang()
	l.calls <- h
	if s := within(t, "it watches again", l.says); s != "elsewhere" {
		t.Error(s)
	}
	close(h.let)
}

func TestRunDoesNotAllocate(t *testing.T) {
	w := New(func() {}, func() {})
	c := &quick{t}
	if n := testing.AllocsPerRun(100, func() { w.Run(c, time.Time{}) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRun(b *testing.B) {
	w := New(func() {}, func() {})
	c := &quick{}
	for b.Loop() {
		w.Run(c, time.Time{})
	}
}
