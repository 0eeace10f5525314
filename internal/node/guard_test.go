package node

import (
	"testing"
	"time"
)

// Only a section in which the loop is at two checks in a row is stuck, also inside another one.
func TestGuard(t *testing.T) {
	var stuck []uint64
	g := newGuard(time.Hour, func(s *section) { stuck = append(stuck, s.number) }) // the test calls tick
	leave := g.enter(section{number: 1})
	g.tick()
	leave()
	leave = g.enter(section{number: 1})
	g.tick() // another section, although of the same container
	outer := leave
	inner := g.enter(section{number: 2})
	g.tick()
	inner()
	g.tick()
	if len(stuck) != 0 {
		t.Errorf("stuck in %d, although no section had two checks in a row", stuck)
	}
	g.tick()
	if err := g.outside(func() error { g.tick(); g.tick(); return nil }); err != nil || len(stuck) != 1 {
		t.Errorf("stuck in %d, %v, while waiting for something else", stuck, err)
	}
	inner = g.enter(section{number: 3})
	g.tick()
	g.tick()
	if len(stuck) != 2 || stuck[0] != 1 || stuck[1] != 3 {
		t.Errorf("stuck in %d, want 1, the outer one, and 3, the inner", stuck)
	}
	inner()
	outer()
	g.tick()
	if g.armed.Load() || g.seen != nil {
		t.Error("the guard checks without a section")
	}
	g.enter(section{})()
	if !g.armed.Load() {
		t.Error("the guard does not check any more")
	}
}
