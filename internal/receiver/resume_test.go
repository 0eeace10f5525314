package receiver

import (
	"os"
	"path/filepath"
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
