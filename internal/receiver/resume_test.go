package receiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// What waits for places that no rule leads to any more is still written there,
// however many they are, and nothing else is.
func TestResumeWithoutRules(t *testing.T) {
	dir := t.TempDir()
	s := &snapshot{}
	var names []string
	for _, name := range []string{"a", "b", "c"} {
		names = append(names, filepath.Join(dir, name))
		s.outputs = append(s.outputs, &outputState{path: names[len(names)-1], kind: int(syslogconf.File), taken: 1, State: output.State{Pending: []byte("late\n"), FD: -1}})
	}
	kept := filepath.Join(dir, "kept")
	r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+kept), nil })
	r.resumed = s
	if err := r.openOutputs(); err != nil {
		t.Fatal(err)
	}
	r.handle([]byte("<2>x: y"), false, syslog.Sender{})
	if r.isOwn([]byte("box")) {
		t.Error("a rule for the kernel's log")
	}
	r.flush(time.Now())
	for _, name := range names {
		if got, err := os.ReadFile(name); err != nil || string(got) != "late\n" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got := content(t, kept); got != "box x: y\n" {
		t.Errorf("%q", got)
	}
}

// What is handed over is as long ago as before, also where the clock has been set.
func TestResumeClockSet(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		last time.Time // of the program before, by the wall clock of now
		ago  time.Duration
	}{
		"as it was":                          {onWall(now.Add(-time.Minute), now), time.Minute},
		"set back while it was handed over":  {now.Round(0).Add(24 * time.Hour), 0},
		"set forth while it was handed over": {now.Round(0).Add(-24 * time.Hour), 24 * time.Hour},
	} {
		k := &keeper{}
		k.resume(&snapshot{keeper: &keeperState{last: tt.last, at: tt.last, saidAt: tt.last, vacantAt: tt.last}})
		for what, at := range map[string]time.Time{"last": k.last, "repairedAt": k.repairedAt, "saidAt": k.saidAt, "vacantAt": k.vacantAt} {
			if d := k.lookAt.Sub(at) - tt.ago; d < 0 || d > time.Minute {
				t.Errorf("%s: %s is %v off", name, what, d)
			}
			if _, mono, _ := strings.Cut(at.String(), " m="); mono == "" { // it has no reading of the other clock
				t.Errorf("%s: %s depends on the wall clock", name, what)
			}
		}
		if !k.since.IsZero() {
			t.Errorf("%s: since is %v, and was never", name, k.since)
		}
	}
}
