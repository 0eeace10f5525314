package pace

import (
	"testing"
	"time"
)

// A neighbour that replaces /dev/log all the time costs no more than the budget, and one
// change is repaired at once.
func TestBudget(t *testing.T) {
	const cost, hours = 4 * time.Millisecond, 4
	start := time.Now()
	var b Budget
	var all time.Duration
	waited := time.Duration(0)
	for now := start; now.Before(start.Add(hours * time.Hour)); {
		b.Repaired(now, cost)
		all += cost
		next := now.Add(time.Second)
		if at := b.Next(); at.After(next) {
			waited = max(waited, at.Sub(now))
			next = at
		}
		now = next
	}
	if most := b.credit() + hours*time.Hour/share + cost; all > most {
		t.Errorf("%v in %d hours, want %v at most", all, hours, most)
	}
	if waited < LongestWait*9/10 || waited > LongestWait {
		t.Errorf("it waits for %v", waited)
	}
	later := b.at.Add(hours * 7 * time.Hour) // of peace
	b.Spend(later, cost)
	if at := b.Next(); !at.IsZero() {
		t.Errorf("after hours without a change it waits until %v", at.Sub(later))
	}
	b.Repaired(later, time.Hour) // on a machine that stood still
	if at := b.Next(); at.Sub(later) != LongestWait {
		t.Errorf("it waits for %v", at.Sub(later))
	}
}

// A slow machine repairs at once as often as a fast one does.
func TestBudgetSlow(t *testing.T) {
	for _, cost := range []time.Duration{time.Millisecond, cheapRepair, 80 * time.Millisecond, dearRepair} {
		var b Budget
		now := time.Now()
		for n := range freeRepairs {
			if b.Repaired(now, cost); !b.Next().IsZero() {
				t.Errorf("repairs of %v: it waits after %d", cost, n+1)
				break
			}
		}
		if b.Repaired(now, cost); b.Next().IsZero() != (cost < cheapRepair) {
			t.Errorf("repairs of %v: it waits after one more: %t", cost, !b.Next().IsZero())
		}
	}
}
