package watcher

import (
	"testing"
	"time"

	"devlog/internal/rerun/reruntest"
)

// The first replacements are repaired at once, more in a row after ever longer times, and after a
// pause at once again.
func TestStrikes(t *testing.T) {
	now := time.Now()
	var d due
	var got []time.Duration
	for range maxStrikes + 1 {
		d.replaced(now)
		if d.prompt(now) != (d.patience(now) == 0) {
			t.Fatalf("strike %d: patience %v", d.strikes, d.patience(now))
		}
		if p := d.patience(now); p > 0 {
			got = append(got, p)
		}
	}
	if len(got) != maxStrikes+1-promptly || got[0] != firstStrike || got[1] != 2*firstStrike || got[len(got)-1] != lastStrike {
		t.Errorf("%v", got)
	}
	now = now.Add(forgive - 1)
	if d.patience(now) != lastStrike {
		t.Error("it forgives early")
	}
	const toForgive = maxStrikes - promptly
	if now = now.Add(1 + (toForgive-2)*forgive); d.prompt(now) || d.patience(now) != firstStrike {
		t.Errorf("patience %v after %d were forgiven", d.patience(now), toForgive-1)
	}
	if !d.prompt(now.Add(forgive)) {
		t.Error("not prompt again")
	}
}

// While /dev/log is replaced all the time, it is repaired at first only. What stays is repaired
// soon after the end.
func TestFlood(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	f.text = reruntest.ToLog // as of a watcher without a socket
	now, looks := time.Now(), 0
	step := func() {
		f.readEvents()
		f.Step(now)
		if f.due.last.Equal(now) {
			looks++
		}
		if f.run != nil {
			b.Eventually("the repair ends", func() bool {
				f.Step(now)
				return f.run == nil
			})
		}
		if now = now.Add(time.Millisecond); f.Next().After(now) {
			now = f.Next()
		}
	}
	for end := now.Add(3 * time.Minute); now.Before(end); {
		b.Must(reruntest.Relink(b.Root, "elsewhere"))
		step()
	}
	if n := b.Runs(); n < 1 || n > promptly {
		t.Errorf("%d repairs, want 1 to %d", n, promptly)
	}
	if looks > 60 {
		t.Errorf("%d looks in three minutes", looks)
	}
	for end := now.Add(2*lastStrike*3/2 + time.Second); f.inspect() != ok && now.Before(end); {
		step()
	}
	if f.inspect() != ok {
		t.Error("not repaired after the end")
	}
}
