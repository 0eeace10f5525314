// Package watchdog owns the watchdog, which has an event loop go on in another
// goroutine when a system call of the loop hangs.
//
// A write to a file system that is frozen, or whose server is dead, returns when that
// answers again, and no signal interrupts it (fsfreeze(8); nfs(5), "hard"). A call in a
// helper goroutine would leave the loop free, but costs more than a write does. So
// the loop makes its calls itself. When one hangs, its goroutine stays behind with the
// call, and another goroutine runs the loop from its top. For that, a loop makes
// guarded calls only where it has nothing half done.
package watchdog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Patience is the longest time that a call may take before the loop goes on without
// it; the shortest is half of that.
const Patience = time.Second

// Call is a call that can hang.
type Call interface {
	// Run makes the call.
	Run(now time.Time)
	// Abandoned says that the loop goes on without the call. No goroutine runs the
	// loop at that moment, and what Run uses is Run's until Returned is called.
	Abandoned()
	// Returned says, in Run's goroutine, that an abandoned call has returned.
	Returned()
}

// Watchdog watches the guarded calls of one event loop.
type Watchdog struct {
	loop func()
	wake func()

	main *turn // of the goroutine that made the watchdog
	turn *turn // of the goroutine that runs the loop
	top  bool  // the loop has nothing half done

	mu    sync.Mutex // of what tick uses too
	timer *time.Timer
	armed atomic.Bool
	seen  uint64 // the state of turn at the last tick

	waits atomic.Bool // main waits for its turn
}

// turn is one goroutine's time to run the loop.
type turn struct {
	call  Call
	state atomic.Uint64 // odd during a call, and another number for each; abandoned
	given chan struct{} // main's turn comes again
}

const abandoned = ^uint64(0)

// New returns the watchdog of the loop that the calling goroutine runs. loop runs the
// loop from its top, in the goroutine that calls it, until the loop ends or Yield
// returns true. wake wakes the loop up; any goroutine may call it.
func New(loop, wake func()) *Watchdog {
	t := &turn{given: make(chan struct{})}
	w := &Watchdog{loop: loop, wake: wake, main: t, turn: t}
	w.timer = time.AfterFunc(time.Hour, w.tick)
	w.timer.Stop()
	return w
}

// Wake wakes the loop up. Any goroutine may call it.
func (w *Watchdog) Wake() { w.wake() }

// Top says whether the loop has nothing half done from now on, so that it can be run
// from its top without loss.
func (w *Watchdog) Top(top bool) { w.top = top }

// Guards says whether Run may be called now.
func (w *Watchdog) Guards() bool { return w.top }

// Run makes the call in this goroutine, which is the loop's. If the call hangs,
// another goroutine runs the loop; Run returns when that has given the loop back.
func (w *Watchdog) Run(c Call, now time.Time) {
	t := w.turn
	t.call = c
	during := t.state.Load() + 1
	t.state.Store(during)
	if !w.armed.Load() {
		w.arm()
	}
	c.Run(now)
	if t.state.CompareAndSwap(during, during+1) {
		return
	}
	c.Returned()
	if t != w.main {
		w.wake()
		runtime.Goexit() // the loop is another goroutine's, and is not given back
	}
	w.waits.Store(true)
	w.wake()
	<-t.given
	w.top = true
}

// Yield gives the loop back to the goroutine that it belongs to, if that waits for it,
// and reports whether it has: the caller's loop is to return. It is called at the
// loop's top.
func (w *Watchdog) Yield() bool {
	if !w.waits.Load() {
		return false
	}
	w.mu.Lock()
	w.waits.Store(false)
	w.main.state.Store(0)
	w.turn = w.main
	w.mu.Unlock()
	w.main.given <- struct{}{}
	return true
}

func (w *Watchdog) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed.CompareAndSwap(false, true) {
		w.seen = 0
		w.timer.Reset(Patience / 2)
	}
}

// tick looks twice for each Patience whether the loop is still in the call of the last
// look, as long as there are calls.
func (w *Watchdog) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.turn
	state := t.state.Load()
	switch {
	case state != w.seen:
		w.seen = state
	case state%2 == 0: // there was no call
		w.armed.Store(false)
		if t.state.Load() == state {
			return
		}
		w.armed.Store(true) // there is one, which has seen that the watchdog was armed
	case t.state.CompareAndSwap(state, abandoned):
		t.call.Abandoned()
		w.turn, w.top, w.seen = &turn{}, false, 0
		go w.loop()
	}
	w.timer.Reset(Patience / 2)
}
