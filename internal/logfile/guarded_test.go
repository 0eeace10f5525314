package logfile

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/output/outputtest"
	"devlog/internal/watchdog"
)

// frozenFile is a file of which the calls hang while it is frozen.
type frozenFile struct {
	fakeFile
	mu    sync.Mutex
	warm  *sync.Cond
	stuck bool // a call hangs
	cold  bool
	woken chan struct{} // the loop is to look at the file again
}

func newFrozenFile() *frozenFile {
	f := &frozenFile{fakeFile: fakeFile{room: 1 << 30}, woken: make(chan struct{}, 1)}
	f.warm = sync.NewCond(&f.mu)
	return f
}

func (f *frozenFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.cold {
		f.stuck = true
		f.warm.Wait()
	}
	f.stuck = false
	return f.fakeFile.Write(p)
}

func (f *frozenFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.wake()
	return f.fakeFile.Close()
}

// wake is what a watchdog calls to wake the loop.
func (f *frozenFile) wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// soon waits until done returns true. It checks each time the loop is woken.
func (f *frozenFile) soon(t *testing.T, what string, done func() bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for !done() {
		select {
		case <-f.woken:
		case <-timeout:
			t.Fatalf("%s: not so in time", what)
		}
	}
}

func (f *frozenFile) freeze(cold bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cold = cold
	f.warm.Broadcast()
}

// read returns what was written, and whether the file is closed.
func (f *frozenFile) read() (data string, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.data), f.closed
}

func newTestGuarded(t *testing.T) (g *Guarded, f *frozenFile, problems *[]error) {
	t.Helper()
	f, problems = newFrozenFile(), new([]error)
	inner := newTestFile(t, f)
	return newGuarded(inner, GuardOptions{Watchdog: watchdog.New(func() {}, f.wake), Problem: func(err error) { *problems = append(*problems, err) }}), f, problems
}

// A file that hangs delays one call. Meanwhile messages are kept up to the limit, and each is
// counted at every moment.
func TestGuarded(t *testing.T) {
	t.Parallel()
	g, f, problems := newTestGuarded(t)
	g.Add(outputtest.Message("before"))
	g.Flush(time.Now())
	outputtest.WantCounts(t, g, "1 0")
	f.freeze(true)
	g.Add(outputtest.Message("stuck"))
	begin := time.Now()
	g.Flush(begin)
	if took := time.Since(begin); took < watchdog.Patience {
		t.Errorf("it was patient for %v", took)
	}
	if !g.Hangs() || len(*problems) != 0 {
		t.Errorf("it hangs: %v, problems %v", g.Hangs(), *problems)
	}
	outputtest.WantCounts(t, g, "1 1")
	long := string(bytes.Repeat([]byte("x"), 1023))
	begin = time.Now()
	for range 1030 {
		g.Add(outputtest.Message(long))
		g.Flush(time.Now())
	}
	if took := time.Since(begin); took >= watchdog.Patience {
		t.Errorf("it took %v", took)
	}
	if len(*problems) != 1 || (*problems)[0].Error() != "cannot write to /f: file system does not answer" {
		t.Errorf("problems: %v", *problems)
	}
	if n := g.Buffered(); n > maxPending {
		t.Errorf("%d bytes are kept", n)
	}
	outputtest.WantCounts(t, g, "1 1024 file system does not answer=7")
	if g.Next().IsZero() {
		t.Error("nothing would look whether the file is back")
	}
	f.freeze(false)
	f.soon(t, "it answers again", func() bool { return !g.Hangs() })
	g.Flush(time.Now())
	f.soon(t, "all is written", func() bool { return !g.Hangs() })
	g.Add(outputtest.Message("after"))
	g.Flush(time.Now())
	f.soon(t, "the last is written", func() bool { return !g.Hangs() && g.Counts().Pending == 0 })
	outputtest.WantCounts(t, g, "1026 0 file system does not answer=7")
	data, _ := f.read()
	if want := "before\nstuck\n" + string(bytes.Repeat([]byte(long+"\n"), 1023)) + "NOTICE 7 messages lost (file system does not answer)\nafter\n"; data != want {
		t.Errorf("%d bytes, want %d: ...%q", len(data), len(want), data[max(0, len(data)-200):])
	}
	if len(*problems) != 1 {
		t.Errorf("problems: %v", *problems)
	}
}

// A file that hung a moment ago delays nothing when it hangs again.
func TestGuardedDistrusts(t *testing.T) {
	t.Parallel()
	g, f, _ := newTestGuarded(t)
	dog := watchdog.New(func() { t.Error("the loop goes on elsewhere") }, f.wake)
	g.Watchdog = dog
	f.freeze(true)
	g.Add(outputtest.Message("a"))
	g.Flush(time.Now()) // not at the loop's top
	f.freeze(false)
	f.soon(t, "it answers again", func() bool { return !g.Hangs() })
	dog.Top(true)
	f.freeze(true)
	begin := time.Now()
	for range 3 {
		g.Add(outputtest.Message("b"))
		g.Flush(time.Now())
	}
	if took := time.Since(begin); took >= watchdog.Patience/2 {
		t.Errorf("it took %v", took)
	}
	f.freeze(false)
	f.soon(t, "all is written", func() bool {
		g.Flush(time.Now())
		return g.Counts().Pending == 0
	})
	outputtest.WantCounts(t, g, "4 0")
	g.trusted = time.Time{}
	f.freeze(false)
	g.Add(outputtest.Message("c"))
	g.Flush(time.Now())
	if data, _ := f.read(); data != "a\nb\nb\nb\nc\n" {
		t.Errorf("%q", data)
	}
}

// What is requested while the file hangs is done when it answers.
func TestGuardedReopen(t *testing.T) {
	t.Parallel()
	first, second := newFrozenFile(), newFrozenFile()
	g := newGuarded(newTestFile(t, first, second), GuardOptions{Watchdog: watchdog.New(func() {}, first.wake), Problem: func(error) {}})
	first.freeze(true)
	g.Add(outputtest.Message("a"))
	g.Flush(time.Now())
	begin := time.Now()
	g.Reopen(begin)
	g.SetRotation(Rotation{Size: 1000, Count: 2})
	s := g.State(begin)
	g.Add(outputtest.Message("b"))
	if took := time.Since(begin); took >= watchdog.Patience {
		t.Errorf("it took %v", took)
	}
	if s.Written != 0 || len(s.Pending) != 0 || s.FD != -1 {
		t.Errorf("%+v", s)
	}
	first.freeze(false)
	first.soon(t, "it answers again", func() bool { return !g.Hangs() })
	g.Add(outputtest.Message("c"))
	g.Flush(time.Now())
	g.Add(outputtest.Message("d"))
	g.Flush(time.Now())
	data, closed := first.read()
	more, _ := second.read()
	if data != "a\nb\nc\n" || !closed || more != "d\n" {
		t.Errorf("%q (closed: %v), then %q", data, closed, more)
	}
	if r := g.file.rotation; r == nil || r.Size != 1000 {
		t.Errorf("rotation: %+v", r)
	}
}

// An output that is closed while its file hangs says what is lost, and its file is
// closed when it answers.
func TestGuardedClose(t *testing.T) {
	t.Parallel()
	g, f, _ := newTestGuarded(t)
	f.freeze(true)
	for i := range 3 {
		g.Add(outputtest.Message(fmt.Sprint(i)))
	}
	g.Flush(time.Now())
	g.Add(outputtest.Message("more"))
	g.Close()
	outputtest.WantCounts(t, g, "0 0 file system does not answer=4")
	f.freeze(false)
	f.soon(t, "the file is closed", func() bool { _, closed := f.read(); return closed })
}

// What the earlier program left unwritten is kept while the file hangs.
func TestGuardedResume(t *testing.T) {
	t.Parallel()
	g, f, _ := newTestGuarded(t)
	f.freeze(true)
	g.Add(outputtest.Message("a"))
	g.Flush(time.Now())
	s := output.State{Written: 5, Lost: []output.Loss{{Reason: "disk full", N: 2}}, Pending: []byte("NOTICE 2 messages lost (disk full)\nb\n"), Ours: true, Unsaid: 2, UnsaidBy: "disk full", FD: -1}
	g.Resume(s, time.Now())
	outputtest.WantCounts(t, g, "5 2 disk full=2")
	f.freeze(false)
	f.soon(t, "it answers again", func() bool { return !g.Hangs() })
	g.Flush(time.Now())
	f.soon(t, "all is written", func() bool { g.Flush(time.Now()); return g.Counts().Pending == 0 })
	outputtest.WantCounts(t, g, "7 0 disk full=2")
	if data, _ := f.read(); data != "a\nb\nNOTICE 2 messages lost (disk full)\n" {
		t.Errorf("%q", data)
	}
}
