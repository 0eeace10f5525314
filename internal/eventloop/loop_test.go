package eventloop

import (
	"errors"
	"os"
	"os/signal"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newLoop(t *testing.T) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// pipe returns the two ends of a pipe.
func pipe(t *testing.T) (out, in *os.File) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close(); in.Close() })
	return out, in
}

func write(t *testing.T, f *os.File) {
	t.Helper()
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
}

func once(t *testing.T, l *Loop) {
	t.Helper()
	if err := l.RunOnce(); err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	l := newLoop(t)
	out, in := pipe(t)
	fd, calls := int(out.Fd()), 0
	if err := l.Add(fd, func() { calls++ }); err != nil {
		t.Fatal(err)
	}
	expect := func(want int, when string) {
		t.Helper()
		once(t, l)
		if calls != want {
			t.Errorf("%s: called %d times, want %d", when, calls, want)
		}
	}
	expect(0, "nothing to read")
	write(t, in)
	expect(1, "something to read")
	if err := l.Pause(fd); err != nil {
		t.Fatal(err)
	}
	expect(1, "paused")
	if err := l.Resume(fd); err != nil {
		t.Fatal(err)
	}
	expect(2, "resumed")
	if err := l.Remove(fd); err != nil {
		t.Fatal(err)
	}
	expect(2, "removed")
	if err := errors.Join(l.Resume(fd), l.Pause(fd)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("of a file that was removed: %v", err)
	}
	if err := l.Add(-1, nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("no file: %v", err)
	}
}

func TestWriter(t *testing.T) {
	l := newLoop(t)
	_, in := pipe(t)
	calls := 0
	if err := l.Poll(int(in.Fd()), unix.EPOLLOUT|unix.EPOLLET, func() { calls++ }); err != nil {
		t.Fatal(err)
	}
	once(t, l)
	once(t, l)
	if calls != 1 {
		t.Errorf("called %d times, want once", calls)
	}
}

// An event of a closed file that another process still has open is ignored, even if its number
// now belongs to another file.
func TestStaleEvent(t *testing.T) {
	l := newLoop(t)
	out, in := pipe(t)
	held, err := unix.Dup(int(out.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	fd, err := unix.Dup(int(out.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Add(fd, func() { t.Error("of the closed file") }); err != nil {
		t.Fatal(err)
	}
	other, _ := pipe(t)
	if err := unix.Dup3(int(other.Fd()), fd, 0); err != nil { // closes the first
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := l.Add(fd, func() { t.Error("of the new file") }); err != nil {
		t.Fatal(err)
	}
	write(t, in)
	once(t, l)
}

func TestTimers(t *testing.T) {
	l := newLoop(t)
	var fired []int
	now := time.Now()
	var list []*Timer
	for i := range 5 {
		list = append(list, l.NewTimer(func(time.Time) { fired = append(fired, i) }))
	}
	for i, after := range []time.Duration{3, 1, 2, time.Hour, 4} {
		list[i].Set(now.Add(after - 10))
	}
	list[4].Set(time.Time{})
	list[4].Set(time.Time{})
	list[1].Set(list[1].at)
	again := l.NewTimer(nil)
	again.fire = func(now time.Time) { fired = append(fired, 9); again.Set(now) }
	again.Set(now.Add(-time.Hour))
	once(t, l)
	if want := []int{9, 1, 2, 0}; !slices.Equal(fired, want) {
		t.Errorf("fired %v, want %v", fired, want)
	}
	fired = nil
	once(t, l)
	if want := []int{9}; !slices.Equal(fired, want) {
		t.Errorf("then fired %v, want %v", fired, want)
	}
}

// A time beyond what epoll_wait(2) can wait for is neither now nor never.
func TestTimeout(t *testing.T) {
	l := newLoop(t)
	now := time.Now()
	if got := l.timeout(now); got != -1 {
		t.Errorf("nothing is due: %d", got)
	}
	timer := l.NewTimer(func(time.Time) {})
	for in, want := range map[time.Duration]int{
		-time.Second: 0, 1: 1, time.Second: 1000, 24 * 24 * time.Hour: 24 * 24 * 3600_000,
		30 * 24 * time.Hour: 1<<31 - 1, 100 * 24 * time.Hour: 1<<31 - 1,
	} {
		timer.Set(now.Add(in))
		if got := l.timeout(now); got != want {
			t.Errorf("in %v: %d, want %d", in, got, want)
		}
	}
}

func TestTasks(t *testing.T) {
	l := newLoop(t)
	calls := 0
	var task, next *Task
	next = NewTask(func() { calls += 100 })
	task = NewTask(func() { calls++; l.Soon(next) })
	l.Soon(task)
	l.Soon(task)
	once(t, l)
	if calls != 1 || l.timeout(time.Now()) != 0 {
		t.Errorf("after one round: %d", calls)
	}
	once(t, l)
	once(t, l)
	if calls != 101 || l.timeout(time.Now()) != -1 {
		t.Errorf("after all: %d", calls)
	}
	if n := testing.AllocsPerRun(100, func() { l.Soon(task); once(t, l); once(t, l) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRun(t *testing.T) {
	l := newLoop(t)
	out, in := pipe(t)
	wrong, worse := errors.New("wrong"), errors.New("worse")
	err := l.Add(int(out.Fd()), func() {
		l.Soon(NewTask(func() { l.Fail(worse) }))
		l.Fail(wrong)
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, in)
	if err := l.Run(); !errors.Is(err, wrong) || !errors.Is(err, worse) {
		t.Errorf("Run: %v", err)
	}
	if err := l.Remove(int(out.Fd())); err != nil {
		t.Fatal(err)
	}
	l.NewTimer(func(time.Time) { l.Stop() }).Set(time.Now().Add(time.Millisecond))
	if err := l.Run(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestSignals(t *testing.T) {
	s := catch(t, unix.SIGUSR1, unix.SIGWINCH)
	l := newLoop(t)
	var got []unix.Signal
	if err := l.Handle(s, func(s unix.Signal) { got = append(got, s); l.Stop() }); err != nil {
		t.Fatal(err)
	}
	send := func(n unix.Signal) {
		t.Helper()
		if err := unix.Kill(os.Getpid(), n); err != nil {
			t.Fatal(err)
		}
	}
	send(unix.SIGUSR1)
	if err := l.Run(); err != nil || !slices.Equal(got, []unix.Signal{unix.SIGUSR1}) {
		t.Errorf("got %v, %v", got, err)
	}
	if s.Pending() {
		t.Error("one is pending")
	}
	s.Wake()
	if !s.Pending() {
		t.Error("Wake is not pending")
	}
	once(t, l)
	if !slices.Equal(got, []unix.Signal{unix.SIGUSR1, 0}) {
		t.Errorf("after Wake: %v", got)
	}
}

func catch(t *testing.T, which ...os.Signal) *Signals {
	t.Helper()
	from := make(chan os.Signal, 64)
	signal.Notify(from, which...)
	s, err := NewSignals(from, which...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A goroutine that takes over the loop while a task hangs continues with the next task.
func TestTakeOver(t *testing.T) {
	l := newLoop(t)
	var ran []int
	hangs, yields := make(chan bool), false
	l.SetYield(func() bool { return yields })
	l.Soon(NewTask(func() {
		done := make(chan error)
		go func() { done <- l.Run() }()
		<-hangs
		yields = true
		l.signals.Wake()
		if err := <-done; !errors.Is(err, ErrYielded) {
			t.Errorf("the other goroutine's Run: %v", err)
		}
		yields = false
		ran = append(ran, 1)
		l.Stop()
	}))
	l.Soon(NewTask(func() { ran = append(ran, 2) }))
	l.Soon(NewTask(func() { ran = append(ran, 3); hangs <- true }))
	if err := l.Handle(catch(t, unix.SIGUSR1), func(unix.Signal) {}); err != nil {
		t.Fatal(err)
	}
	_ = l.Run()
	if !slices.Equal(ran, []int{2, 3, 1}) {
		t.Errorf("ran %v", ran)
	}
}

// A file whose other end is closed while it is paused wakes nobody up.
func TestPausedEnd(t *testing.T) {
	l := newLoop(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	calls := 0
	if err := l.Add(pair[0], func() { calls++ }); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Pause(pair[0]), l.Pause(pair[0]), unix.Close(pair[1])); err != nil {
		t.Fatal(err)
	}
	if once(t, l); calls != 0 {
		t.Errorf("called %d times while it is paused", calls)
	}
	if err := errors.Join(l.Resume(pair[0]), l.Resume(pair[0])); err != nil {
		t.Fatal(err)
	}
	if once(t, l); calls != 1 {
		t.Errorf("called %d times once it is resumed", calls)
	}
	if err := errors.Join(l.Pause(pair[0]), l.Remove(pair[0])); err != nil {
		t.Errorf("removed while it is paused: %v", err)
	}
}
