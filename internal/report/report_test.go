package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/failure"
	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/syslog"
)

// Text that a container chose does not control a terminal.
func TestEscapes(t *testing.T) {
	var out bytes.Buffer
	if err := sharers(&out, []hosts.Sharer{{PID: 1, Command: "a\tb\x1b[1m", Name: "c\n", Problem: "\x9b"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "a#011b#033[1m  c#012  "; !strings.Contains(got, want) || !strings.Contains(got, "#233") {
		t.Errorf("said %q, want it to have %q", got, want)
	}
}

// JSON escapes the same characters, and reads back as the same text.
func TestEscapesJSON(t *testing.T) {
	const evil = "a\x1b[2J\n\x7f\u009b1m\u202eb\u2028c"
	var out bytes.Buffer
	if err := JSON(&out, map[string]string{evil: evil}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSuffix(line, "\n"); syslog.Escape(line) != line {
			t.Errorf("written: %q", line)
		}
	}
	var back map[string]string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[evil] != evil {
		t.Errorf("read back: %q, %v", back, err)
	}
}

func TestNextIsEscaped(t *testing.T) {
	r := repair.Result{Changed: true, Plan: plan.Plan{Verdict: plan.Healthy, Advice: "look at \x1b[2J"}}
	if got, want := next(nil, repair.Options{}, r), "now look at #033[2J"; got != want {
		t.Errorf("after a repair: %q, want %q", got, want)
	}
}

const longID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// A container is shown by the name that people know, or by an ID as short as engines show it.
// JSON has the full ID.
func TestCheckHostNames(t *testing.T) {
	list := []hosts.Sharer{{PID: 7, Name: longID}, {PID: 8, Name: longID, Called: "web", Hook: &failure.Failure{}}}
	var out strings.Builder
	if err := CheckHost(&out, repair.Result{}, list); err != nil || strings.Contains(out.String(), longID) ||
		!strings.Contains(out.String(), " "+longID[:12]+" ") || !strings.Contains(out.String(), " web ") || !strings.Contains(out.String(), "\ncontainer web (process 8): ") {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	SharersSteps(&out, list)
	if err := (&hosts.SharerError{Sharer: list[0], Err: unix.EPERM}).Error(); strings.Contains(out.String()+err, longID) || !strings.Contains(err, longID[:12]) {
		t.Errorf("%s\n%s", out.String(), err)
	}
	out.Reset()
	if err := HostJSON(&out, repair.Result{}, list); err != nil || strings.Count(out.String(), longID) != 2 || !strings.Contains(out.String(), `"called": "web"`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}
