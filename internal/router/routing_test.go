package router

import (
	"bytes"
	"testing"

	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// No message of a container is shown on the host's terminals: what goes to the host's daemons,
// or to the kernel, is no emergency.
func TestPassOnHost(t *testing.T) {
	for _, action := range []string{"journal", "syslog", "/dev/kmsg"} {
		rule, err := syslogconf.ParseRule("*.* " + action)
		if err != nil {
			t.Fatal(err)
		}
		out := &recorder{}
		r := &Router{Routes: []Route{{Rules: []syslogconf.Rule{rule}, Out: out}}}
		for _, s := range []syslog.Severity{syslog.Emerg, syslog.Alert, syslog.Crit} {
			if !r.Pass(&syslog.Message{Facility: syslog.User, Severity: s, Text: []byte("x")}) {
				t.Fatalf("%s: no rule for it", action)
			}
			if want := syslog.MakePriority(syslog.User, max(s, syslog.Alert)); out.last.Priority != want || bytes.Contains(out.last.Line, []byte("PRIORITY=0")) {
				t.Errorf("%s: severity %d has priority %d, want %d: %q", action, s, out.last.Priority, want, out.last.Line)
			}
		}
	}
}
