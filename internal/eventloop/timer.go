package eventloop

import (
	"container/heap"
	"time"
)

// Timer calls a function at a time that Set sets.
type Timer struct {
	loop  *Loop
	at    time.Time
	index int // in the heap; -1 if not set
	fire  func(now time.Time)
}

// NewTimer returns a timer that calls fire.
func (l *Loop) NewTimer(fire func(now time.Time)) *Timer {
	return &Timer{loop: l, index: -1, fire: fire}
}

// Set sets the time, for one call; the zero time stops the timer. A timer that is set while
// timers fire does not fire before the next round.
func (t *Timer) Set(at time.Time) {
	if l := t.loop; l.firing && !at.IsZero() && !at.After(l.now) {
		at = l.now.Add(1)
	}
	switch h := &t.loop.timers; {
	case at.Equal(t.at) && (t.index >= 0) != at.IsZero():
	case at.IsZero():
		heap.Remove(h, t.index)
	case t.index < 0:
		t.at = at
		heap.Push(h, t)
		return
	default:
		t.at = at
		heap.Fix(h, t.index)
		return
	}
	t.at = at
}

// timers is a heap of timers, earliest first.
type timers []*Timer

// next returns the time of the first timer; zero for none.
func (h timers) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].at
}

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(t any) {
	timer, _ := t.(*Timer)
	timer.index = len(*h)
	*h = append(*h, timer)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}

// fire calls the timers that are due.
func (l *Loop) fire() {
	l.firing = true
	for len(l.timers) > 0 && !l.timers[0].at.After(l.now) {
		t, _ := heap.Pop(&l.timers).(*Timer)
		t.at = time.Time{}
		t.fire(l.now)
	}
	l.firing = false
}
