package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/containers"
	"devlog/internal/running"
)

func TestWriteServed(t *testing.T) {
	metrics := filepath.Join(t.TempDir(), "metrics")
	if err := os.WriteFile(metrics, []byte("devlogd_received_messages_total{name=\"a\"} 12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 11, 28, 1, 2, 3, 0, time.Local)
	list := []Served{
		ServedBy(running.Receiver{PID: 3, Container: 2, Name: "0123", Socket: "/run/devlog/log", Rules: []string{"a", "b"}, Metrics: metrics, Since: since},
			containers.Container{ID: "0123", Name: "web", Engine: "podman"}),
		ServedBy(running.Receiver{PID: 5, Container: 5, Name: "x\x1b[2J", OnHost: true, Config: "/etc/x"}, containers.Container{}),
		ServedBy(running.Receiver{PID: 7, Container: 6, Name: "y", Metrics: metrics + "none"}, containers.Container{}),
		ServedBy(running.Receiver{PID: 9, Container: 8, Name: "z"}, containers.Container{ID: "4567"}),
		ServedBy(running.Receiver{PID: 11, Container: 10, Name: longID, OnHost: true}, containers.Container{ID: longID}),
	}
	const want = `CONTAINER     ENGINE  PID  SOCKET           RULES   MESSAGES  LOST  SINCE
web           podman  2    /run/devlog/log  2       12        0     2026-11-28 01:02
x#033[2J      -       5    -                /etc/x  -         -     -
-             -       6    -                -       -         -     -
4567          -       8    -                -       -         -     -
0123456789ab  -       10   -                -       -         -     -
`
	var out strings.Builder
	if err := WriteServed(&out, list, true); err != nil || out.String() != want {
		t.Errorf("it says %v\n%swant\n%s", err, out.String(), want)
	}
	out.Reset()
	if err := WriteServed(&out, nil, false); err != nil || out.String() != "None of your containers has a receiver.\n" {
		t.Errorf("of none of a user's it says %v %s", err, out.String())
	}
	out.Reset()
	if err := WriteServed(&out, nil, true); err != nil || out.String() != "No container on this host has a receiver.\n" {
		t.Errorf("of none it says %v %s", err, out.String())
	}
	out.Reset()
	if err := JSON(&out, list[2:3]); err != nil || !strings.Contains(out.String(), `"messages": null,`) || !strings.Contains(out.String(), `"container": null,`) {
		t.Errorf("JSON: %v\n%s", err, out.String())
	}
}
