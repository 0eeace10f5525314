package engine

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"devlog/test/host"
)

// anywhere are places where a hostile container wants its neighbours' hooks to create files
// as root, through a link at the shared /dev/log.
var anywhere = []string{"/etc/nologin", "/data/x.sock", "/data/a/b/c/d/log", "/var/lib/x/y/log", "../etc/nologin",
	"/data/../run/devlog/../../etc/nologin", "/var/run/../../data/run/devlog/log"}

// newPrey makes a container with a directory of the host at /data.
func newPrey(t *testing.T, h *host.Host) *host.Cheap {
	t.Helper()
	return host.NewCheap(t, h, "prey", host.CheapOptions{Run: "mount -n -t tmpfs -o mode=755 run run; mkdir -p data var/lib; ln -s ../run var/run; mount -n --bind /srv/data data"})
}

// No hook follows a link in a shared /dev to a place that its maker chose. It is replaced from
// the host, or covered where mounts are possible, and keeps nobody from logging.
func TestEngineHostileLinkAnywhere(t *testing.T) {
	host.NeedContainers(t)
	for _, side := range []string{"outside", "inside"} {
		t.Run(side, func(t *testing.T) {
			inside := side == "inside"
			h := host.NewHost(t)
			h.Must("mkdir", "-p", "/srv/data")
			c := newPrey(t, h)
			dirs := []string{"/etc", "/data", "/var/lib"}
			before := append(host.Snap(t, c.Path("/"), dirs...), host.Snap(t, h.Path("/"), "/srv", "/etc")...)
			expectUntouched := func(when string) {
				t.Helper()
				if now := append(host.Snap(t, c.Path("/"), dirs...), host.Snap(t, h.Path("/"), "/srv", "/etc")...); !slices.Equal(before, now) {
					t.Fatalf("%s:\n%q\nwas\n%q", when, now, before)
				}
			}
			for i, to := range anywhere {
				_ = os.Remove(h.Path("/dev/log"))
				host.Check(t, os.Symlink(to, h.Path("/dev/log")))
				if r := c.Hook(inside, "check"); r.Code != 1 {
					t.Errorf("%s: check: %+v", to, r)
				}
				if r := c.Hook(inside, "repair", "--no-auto-repair"); r.Code != 0 {
					t.Errorf("%s: repair: %+v", to, r)
				}
				expectUntouched(to)
				c.WantSent(t, c.Log(inside), fmt.Sprintf("message-%d-", i))
				if r := c.Hook(inside, "repair", "--no-auto-repair", "--strategy", "adopt"); r.Code != 0 && r.Code != 3 {
					t.Errorf("%s: adopt: %+v", to, r)
				}
				if r := c.Hook(inside, "undo"); r.Code != 0 {
					t.Errorf("%s: undo: %+v", to, r)
				}
				expectUntouched(to + ", undone")
				if !inside {
					h.Must(host.HookOn(), "undo", "--host")
				}
			}
		})
	}
}

// A receiver that watches /dev/log does not follow such a link either.
func TestEngineHostileLinkWhileKept(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	h.Must("mkdir", "-p", "/srv/data")
	c := newPrey(t, h)
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	before := append(host.Snap(t, c.Path("/"), "/etc", "/data"), host.Snap(t, h.Path("/"), "/srv")...)
	for _, to := range anywhere {
		host.Check(t, os.Remove(h.Path("/dev/log")))
		host.Check(t, os.Symlink(to, h.Path("/dev/log")))
		host.Eventually(t, "the link to "+to+" is repaired", func() bool {
			text, err := os.Readlink(h.Path("/dev/log"))
			return err == nil && text == "/run/devlog/log"
		})
	}
	if now := append(host.Snap(t, c.Path("/"), "/etc", "/data"), host.Snap(t, h.Path("/"), "/srv")...); !slices.Equal(before, now) {
		t.Errorf("\n%q\nwas\n%q", now, before)
	}
	c.Stop()
	host.ExpectReceiversEnd(t, h)
}

// A host with such a link can be prepared.
func TestHostHostileLink(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	host.Check(t, os.Symlink("/etc/nologin", h.Path("/dev/log")))
	if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 1 {
		t.Errorf("check: %+v", r)
	}
	h.Must(host.HookOn(), "repair", "--host")
	if text, err := os.Readlink(h.Path("/dev/log")); text != "/run/devlog/log" {
		t.Errorf("/dev/log is a link to %q, %v", text, err)
	}
}
