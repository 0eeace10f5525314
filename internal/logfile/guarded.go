package logfile

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/watchdog"
)

const (
	// ErrHangs is the reason for losses while a system call for the file does not return.
	ErrHangs = output.Cause("file system does not answer")
	// distrust is how long after a call that hung another goroutine makes all calls for the
	// file: a server that is slow again and again must not delay the other outputs.
	distrust = time.Minute
	// guardPoll is how often a program without a watchdog checks whether the call has
	// returned.
	guardPoll = 500 * time.Millisecond
)

// Guarded is a File whose file system may hang. The loop continues without a call that takes
// longer than watchdog.Patience. Meanwhile 1 MiB of messages wait, and more are lost.
//
// The loop itself writes, while the watchdog can take the loop away from it. Other calls are
// rare: another goroutine makes them, and the loop waits for it.
type Guarded struct {
	file *File
	GuardOptions

	// away says that another goroutine has the file. Then only the fields below are used.
	away  bool
	back  back
	known output.Outline
	queue output.Buffer // what is added meanwhile
	sync  bool          // the file must be synced then

	todo    []func() // what to do first when the file is back
	hung    bool     // the loop continued without a call, and that was not reported
	gone    bool     // the output was closed while the file was away
	look    time.Time
	trusted time.Time // until then another goroutine makes every call
}

// GuardOptions are the options of the guard.
type GuardOptions struct {
	Watchdog *watchdog.Watchdog // the loop's
	// Problem reports that the file system hangs (ErrHangs), once each time, or that the first
	// message could not create the file.
	Problem func(error)
	// As calls its argument with the privileges for opening the file, in a thread of its own;
	// nil if those are the program's.
	As func(func() error) error
}

// back is how a goroutine returns the file.
type back struct {
	done  atomic.Bool
	took  time.Duration // duration of the call; valid when done
	late  atomic.Bool   // nobody waits for the call, so the loop must be woken
	close atomic.Bool   // close the file when the call returns
}

// OpenGuarded returns the output to the file at that path. If the file cannot be opened, or
// its file system hangs, the error says why, and the output tries again later.
func OpenGuarded(path string, o Options, guard GuardOptions) (*Guarded, error) {
	g := newGuarded(newFile(path, o, openHandle), guard)
	var err error
	if !g.wait(func() {
		if g.As == nil {
			err = g.file.start()
			return
		}
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err = g.As(g.file.start)
	}) {
		g.hung = false // the error reports it
		return g, fmt.Errorf("cannot open the log file %s: %w", path, ErrHangs)
	}
	return g, err
}

func newGuarded(f *File, o GuardOptions) *Guarded {
	g := &Guarded{file: f, GuardOptions: o, queue: output.NewBuffer(output.BufferOptions{Notice: f.lines.Notice})}
	g.queue.Block(ErrHangs)
	return g
}

// Name returns the file's path.
func (g *Guarded) Name() string { return g.file.Path }

// Hangs returns whether a system call for the file has not returned yet.
func (g *Guarded) Hangs() bool { return g.away && !g.back.done.Load() }

// Add adds a message. It is lost if 1 MiB is pending already.
func (g *Guarded) Add(m output.Message) {
	if !g.away && g.file.full(m) {
		if now := time.Now(); now.Before(g.trusted) {
			g.send(g.step(now), true)
		} else {
			g.wait(g.step(now))
		}
	}
	if !g.away {
		g.file.Add(m)
		return
	}
	g.queue.Add(m.Line)
	g.sync = g.sync || m.Sync
}

// Flush writes what is pending, unless a write failed a moment ago.
func (g *Guarded) Flush(now time.Time) {
	g.look = now
	if g.hung {
		g.hung = false
		g.Problem(fmt.Errorf("cannot write to %s: %w", g.file.Path, ErrHangs))
	}
	if !g.here(now) {
		return
	}
	if err := g.file.failed; err != nil {
		g.file.failed = nil
		g.Problem(err)
	}
	if len(g.todo) == 0 && g.file.rests(now) {
		return
	}
	switch guards := g.Watchdog.Guards(); {
	case guards && now.Before(g.trusted):
		g.send(g.step(now), true)
	case guards && len(g.todo) == 0 && !g.file.later: // creating a file is slower than writing to it
		g.note()
		g.Watchdog.Run(g, now)
	default:
		g.wait(g.step(now))
	}
}

// step returns what another goroutine does for a Flush.
func (g *Guarded) step(now time.Time) func() {
	todo := g.todo
	g.todo = nil
	return func() {
		for _, f := range todo {
			f()
		}
		g.file.Flush(now)
	}
}

// Run writes what is pending, in the loop's goroutine.
func (g *Guarded) Run(now time.Time) { g.file.Flush(now) }

// Abandoned leaves the file to the goroutine that is stuck in Run.
func (g *Guarded) Abandoned() {
	g.leave()
	g.back.late.Store(true)
	g.hung = true
}

// Returned gives the file back, in the goroutine that was stuck.
func (g *Guarded) Returned() { g.giveBack(watchdog.Patience) }

// Reopen opens the path again: the file may have been renamed.
func (g *Guarded) Reopen(now time.Time) {
	g.first(func() { g.file.Reopen(now) })
}

// SetRotation changes the rotation.
func (g *Guarded) SetRotation(r Rotation) {
	g.first(func() { g.file.setRotation(r) })
}

// first runs f before any other use of the file, now if the file is here.
func (g *Guarded) first(f func()) {
	g.todo = append(g.todo, f)
	if now := time.Now(); g.here(now) {
		g.wait(g.step(now))
	}
}

// note records what is known of the file before another goroutine gets it.
func (g *Guarded) note() {
	g.file.lines.Note(&g.known)
}

func (g *Guarded) leave() {
	g.away = true
	g.queue.Limit = max(maxPending-g.known.Size(), output.BatchSize)
}

// here returns whether the loop has the file. It takes the file back if it can.
func (g *Guarded) here(now time.Time) bool {
	if !g.away {
		return true
	}
	if !g.back.done.Load() {
		return false
	}
	if g.back.took >= watchdog.Patience {
		g.trusted = now.Add(distrust)
	}
	g.back.done.Store(false)
	g.back.late.Store(false)
	g.away = false
	g.file.lines.Take(&g.queue)
	g.file.sync = g.file.sync || g.sync
	g.sync = false
	return true
}

// send runs f in another goroutine, with the file. late says that nobody waits for the
// returned channel, which is closed when the file can be taken back.
func (g *Guarded) send(f func(), late bool) <-chan struct{} {
	g.note()
	g.leave()
	g.back.late.Store(late)
	done := make(chan struct{})
	go func() {
		defer close(done)
		begin := time.Now()
		f()
		g.giveBack(time.Since(begin))
	}()
	return done
}

// wait is send, but waits for f up to watchdog.Patience. It returns whether f has returned.
func (g *Guarded) wait(f func()) bool {
	done := g.send(f, false)
	timer := time.NewTimer(watchdog.Patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		g.back.late.Store(true)
	}
	if g.here(time.Now()) {
		return true
	}
	g.hung = true
	return false
}

// giveBack tells the loop, from another goroutine, that it can take the file back.
func (g *Guarded) giveBack(took time.Duration) {
	b := &g.back
	b.took = took
	b.done.Store(true)
	if b.close.Load() && b.done.CompareAndSwap(true, false) {
		g.file.Close()
		return
	}
	if b.late.Load() {
		g.Watchdog.Wake()
	}
}

// Close closes the file. What is still pending is lost.
func (g *Guarded) Close() {
	if g.here(time.Now()) && g.wait(g.file.Close) {
		return
	}
	g.gone = true
	g.back.close.Store(true)
	if g.back.done.CompareAndSwap(true, false) {
		g.file.Close()
	}
}

// Next returns when to call Flush if nothing is added before.
func (g *Guarded) Next() time.Time {
	if g.away {
		return g.look.Add(guardPoll)
	}
	return g.file.Next()
}

// Counts returns what happened to the messages.
func (g *Guarded) Counts() output.Counts {
	if !g.away {
		return g.file.Counts()
	}
	c := g.queue.CountsAfter(&g.known)
	if g.gone {
		c.Lose(string(ErrHangs), c.Pending)
		c.Pending = 0
	}
	return c
}

// Buffered returns the size of what is pending, in bytes.
func (g *Guarded) Buffered() int {
	if !g.away {
		return g.file.Buffered()
	}
	return g.known.Size() + g.queue.Size()
}

// State returns what to pass on. For a file that is away, that does not include what was
// pending before: the program cannot be replaced while its call hangs.
func (g *Guarded) State(now time.Time) (s output.State) {
	var of output.State
	if g.here(now) && g.wait(func() { of = g.file.State(now) }) {
		return of
	}
	c := g.Counts()
	s = g.queue.State()
	s.Written, s.Lost, s.Unsaid, s.Sync = c.Written, c.Lost, c.Untold, g.sync
	return s
}

// Resume continues for another output. This one was just opened.
func (g *Guarded) Resume(s output.State, now time.Time) {
	if g.here(now) {
		g.file.Resume(s, now)
		return
	}
	if s.FD >= 0 {
		_ = unix.Close(s.FD)
	}
	if s.Ours { // the notice about unsaid losses
		s.Pending = s.Pending[bytes.IndexByte(s.Pending, '\n')+1:]
	}
	s.Torn, s.Ours = 0, false // the file has that part of it
	g.queue.Resume(s)
	g.sync = g.sync || s.Sync
}

var (
	_ output.Output  = (*Guarded)(nil)
	_ output.Lasting = (*Guarded)(nil)
	_ watchdog.Call  = (*Guarded)(nil)
)
