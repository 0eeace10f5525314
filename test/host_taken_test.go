package test

import (
	"os"
	"strings"
	"testing"
)

// A container that puts its own socket in the place of a prepared host's daemon's
// does not keep it: check says so, undo gives it nothing, and a restart of the
// daemon puts the host right.
func TestHostTaken(t *testing.T) {
	needContainers(t)
	for _, end := range []string{"undo", "restart"} {
		t.Run(end, func(t *testing.T) {
			h := NewHost(t)
			liveSocket(t, h)
			h.Must(hookOn(), "repair", "--host")
			c := NewCheap(t, h, "evil", cheapOptions{})
			check(t, os.Remove(h.Path("/dev/.devlog-host")))
			if r := h.Do(hookOn(), "check", "--host"); r.Code != 1 || !strings.Contains(r.Out, "restart the host's syslog daemon") {
				t.Errorf("check, removed: %+v", r)
			}
			c.Sh("/opt/devlog/devlogd --listen /dev/.devlog-host --rule '*.* /stolen' </dev/null >/dev/null 2>&1 &")
			eventually(t, "the container listens", func() bool { return canConnect(h.Path("/dev/.devlog-host")) })
			if r := h.Do(hookOn(), "check", "--host"); r.Code != 3 || strings.Contains(r.Out, "works") || !strings.Contains(r.Out, "has replaced the host's socket") {
				t.Errorf("check, replaced: %+v", r)
			}
			if end == "undo" {
				h.Must(hookOn(), "undo", "--host")
				if canConnect(h.Path("/dev/log")) {
					t.Error("the container's socket is /dev/log")
				}
				return
			}
			check(t, os.Remove(h.Path("/dev/log")))
			receive := listenOn(t, h, "/dev/log")
			h.Must(hookOn(), "repair", "--host")
			if r := h.Do(hookOn(), "check", "--host"); r.Code == 3 || !strings.Contains(r.Out, "works") {
				t.Errorf("check, after the restart: %+v", r)
			}
			h.Must(client, "host", "13", "to-the-host")
			if got := receive(); !strings.HasSuffix(got, ": to-the-host") {
				t.Errorf("received %q", got)
			}
		})
	}
}
