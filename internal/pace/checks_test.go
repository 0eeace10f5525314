package pace

import (
	"testing"
	"time"
)

// The first replacements are repaired at once, more in a row after ever longer times, and after a
// pause at once again.
func TestStrikes(t *testing.T) {
	now := time.Now()
	var c Checks
	var got []time.Duration
	for range maxStrikes + 1 {
		c.Replaced(now)
		if c.Prompt(now) != (c.patience(now) == 0) {
			t.Fatalf("strike %d: patience %v", c.strikes, c.patience(now))
		}
		if p := c.patience(now); p > 0 {
			got = append(got, p)
		}
	}
	if len(got) != maxStrikes+1-promptly || got[0] != firstStrike || got[1] != 2*firstStrike || got[len(got)-1] != lastStrike {
		t.Errorf("%v", got)
	}
	now = now.Add(forgive - 1)
	if c.patience(now) != lastStrike {
		t.Error("it forgives early")
	}
	const toForgive = maxStrikes - promptly
	if now = now.Add(1 + (toForgive-2)*forgive); c.Prompt(now) || c.patience(now) != firstStrike {
		t.Errorf("patience %v after %d were forgiven", c.patience(now), toForgive-1)
	}
	if !c.Prompt(now.Add(forgive)) {
		t.Error("not prompt again")
	}
}

// Checks that find nothing follow ever more slowly, until there was none for a while.
func TestSlower(t *testing.T) {
	const prompt = checkFixed + checkRandom
	now := time.Now()
	c := Checks{Last: now}
	for range 20 {
		c.Slower()
	}
	for _, tt := range []struct {
		after       time.Duration // the last check
		soon        bool
		first, last time.Duration // until the check
	}{
		{time.Second, false, checkFixed + lastPace/2, prompt + lastPace*3/2},
		{time.Second, true, checkFixed, prompt},
		{quietPace + 1, false, checkFixed, prompt},
	} {
		c := c
		c.Schedule(now.Add(tt.after), tt.soon)
		if d := c.At.Sub(now) - tt.after; d < tt.first || d > tt.last {
			t.Errorf("%+v: %v", tt, d)
		}
	}
}
