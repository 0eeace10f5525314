package running

import (
	"testing"
	"time"
)

// The containers of a service that stays stopped wait for it together, each of them for what
// is left of the time. Each is looked for at least once.
func TestRestartWait(t *testing.T) {
	now := time.Unix(1, 0)
	var slept time.Duration
	w := restartWait{now: func() time.Time { return now }, sleep: func(d time.Duration) { now, slept = now.Add(d), slept+d }}
	after := func(looks, pid int) func() int {
		return func() int {
			if looks--; looks < 0 {
				return pid
			}
			return 0
		}
	}
	for _, tt := range []struct {
		what  string
		find  func() int
		pid   int
		slept time.Duration // in all until then
	}{
		{"it runs", after(0, 11), 11, 0},
		{"it is restarted", after(5, 12), 12, 5 * restartStep},
		{"it is not", after(1000, 13), 0, restartTime},
		{"nor for another container", after(1000, 14), 0, restartTime},
		{"nor for a third one", after(1, 15), 0, restartTime},
		{"a fourth one's runs", after(0, 16), 16, restartTime},
	} {
		if pid := w.wait(tt.find); pid != tt.pid || slept != tt.slept {
			t.Errorf("%s: %d after %s, want %d after %s", tt.what, pid, slept, tt.pid, tt.slept)
		}
	}
}
