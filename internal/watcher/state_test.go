package watcher

import (
	"strings"
	"testing"
	"time"

	"devlog/internal/handover"
)

// Times that are handed over keep their distance, even if the clock is set meanwhile.
func TestResumeClockSet(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		last time.Time // of the program before, by the wall clock of now
		ago  time.Duration
	}{
		"as it was":                          {onWall(now.Add(-time.Minute), now).Time(), time.Minute},
		"set back while it was handed over":  {now.Round(0).Add(24 * time.Hour), 0},
		"set forth while it was handed over": {now.Round(0).Add(-24 * time.Hour), 24 * time.Hour},
	} {
		now := time.Now()
		was := handover.TimeOf(tt.last)
		k := StateOf(&handover.Watcher{Last: was, RepairedAt: was, SaidAt: was, FreeAt: was}, now)
		for what, at := range map[string]time.Time{"last": k.Last, "at": k.At, "saidAt": k.SaidAt, "orphaned": k.Orphaned} {
			if d := now.Sub(at) - tt.ago; d < 0 || d > time.Minute {
				t.Errorf("%s: %s is %v off", name, what, d)
			}
			if _, mono, _ := strings.Cut(at.String(), " m="); mono == "" { // it has no reading of the other clock
				t.Errorf("%s: %s depends on the wall clock", name, what)
			}
		}
		if !k.Since.IsZero() {
			t.Errorf("%s: since is %v, and was never", name, k.Since)
		}
	}
}
