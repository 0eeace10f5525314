package plan

import (
	"testing"

	"devlog/internal/names"
)

// A link's own text decides, whatever its target is.
func TestIsKnown(t *testing.T) {
	places := []string{names.DefaultSocket, names.JournalSocket, "/var/run/syslog-ng.sock"}
	for text, want := range map[string]bool{
		names.DefaultSocket: true, names.JournalSocket: true, "/var/run/devlog/log": true, "//run/./devlog//log": true,
		"/run/syslog-ng.sock": true, "/var/run/syslog-ng.sock": true,
		"": false, "/": false, "run/devlog/log": false, "../run/devlog/log": false, "/data/../run/devlog/log": false,
		"/run/devlog": false, "/run/devlog/log/x": false, "/etc/nologin": false, "/var/run": false, "/dev/.devlog-host": false,
	} {
		if got := IsKnown(text, places); got != want {
			t.Errorf("%q is known: %t", text, got)
		}
	}
}
