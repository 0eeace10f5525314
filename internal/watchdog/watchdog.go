// Package watchdog keeps an event loop running when one of its system calls hangs: another
// goroutine runs the loop then.
//
// A write to a frozen file system, or to one whose server is dead, blocks until the file
// system answers, and no signal interrupts it (fsfreeze(8); nfs(5), "hard"). Making every call
// in a helper goroutine would keep the loop free, but costs more than the write. So the loop
// makes its calls itself. When one hangs, its goroutine stays with the call, and another
// goroutine runs the loop from its top. So a loop may make guarded calls only when it has
// nothing half done.
package watchdog

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Patience is the longest time that a call may take before the loop continues without it. The
// shortest is half of that.
const Patience = time.Second

// Call is a call that can hang.
type Call interface {
	// Run makes the call.
	Run(now time.Time)
	// Abandoned tells that the loop continues without the call. No goroutine runs the loop at
	// that moment. Run owns what it uses until Returned.
	Abandoned()
	// Returned tells, in Run's goroutine, that an abandoned call has returned.
	Returned()
}

// Watchdog watches the guarded calls of one event loop.
type Watchdog struct {
	loop func()
	wake func()

	main *turn // of the goroutine that called New
	turn *turn // of the goroutine that runs the loop
	top  bool  // the loop has nothing half done

	mu    sync.Mutex // protects what tick uses too
	timer *time.Timer
	armed atomic.Bool
	seen  uint64 // the state of turn at the last tick

	waits atomic.Bool // main waits for its turn
}

// turn is one goroutine's time to run the loop.
type turn struct {
	call  Call
	state atomic.Uint64 // odd during a call, different for each call; or abandoned
	given chan struct{} // main's turn is back
}

const abandoned = ^uint64(0)

// New returns the watchdog of the loop that the calling goroutine runs. loop runs the loop
// from its top in the calling goroutine, until the loop ends or Yield returns true. wake wakes
// the loop. Any goroutine may call it.
func New(loop, wake func()) *Watchdog {
	t := &turn{given: make(chan struct{})}
	w := &Watchdog{loop: loop, wake: wake, main: t, turn: t}
	w.timer = time.AfterFunc(time.Hour, w.tick)
	w.timer.Stop()
	return w
}

// Wake wakes the loop. Any goroutine may call it.
func (w *Watchdog) Wake() { w.wake() }

// Top tells whether the loop now has nothing half done, so that it can run from its top
// without loss.
func (w *Watchdog) Top(top bool) { w.top = top }

// Guards returns whether Run may be called now.
func (w *Watchdog) Guards() bool { return w.top }

// Run makes the call in this goroutine, which runs the loop. If the call hangs, another
// goroutine runs the loop meanwhile. Run returns when that goroutine gives the loop back.
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
		runtime.Goexit() // another goroutine keeps the loop
	}
	w.waits.Store(true)
	w.wake()
	<-t.given
	w.top = true
}

// Yield gives the loop back to its goroutine, if that waits for it. If it returns true, the
// caller's loop must return. Call it at the loop's top.
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

// tick checks twice per Patience, while there are calls, whether the loop is still in the call
// of the last check.
func (w *Watchdog) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.turn
	state := t.state.Load()
	switch {
	case state != w.seen:
		w.seen = state
	case state%2 == 0: // no call
		w.armed.Store(false)
		if t.state.Load() == state {
			return
		}
		w.armed.Store(true) // a call that saw the watchdog armed
	case t.state.CompareAndSwap(state, abandoned):
		t.call.Abandoned()
		w.turn, w.top, w.seen = &turn{}, false, 0
		go w.loop()
	}
	w.timer.Reset(Patience / 2)
}
