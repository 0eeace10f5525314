package watcher

import (
	"testing"
	"time"

	"devlog/internal/rerun/reruntest"
)

// While /dev/log is replaced all the time, it is repaired at first only. What stays is repaired
// soon after the end.
func TestFlood(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	f.text = reruntest.ToLog // as of a watcher without a socket
	const (
		most    = 8                // repairs at once
		longest = 31 * time.Second // until a change that stays is repaired: two checks
	)
	now, looks := time.Now(), 0
	step := func() {
		f.readEvents()
		f.Step(now)
		if f.due.Last.Equal(now) {
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
	if n := b.Runs(); n < 1 || n > most {
		t.Errorf("%d repairs, want 1 to %d", n, most)
	}
	if looks > 60 {
		t.Errorf("%d looks in three minutes", looks)
	}
	for end := now.Add(longest); f.inspect() != ok && now.Before(end); {
		step()
	}
	if f.inspect() != ok {
		t.Error("not repaired after the end")
	}
}
