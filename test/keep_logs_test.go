package test

import (
	"os"
	"testing"
	"time"
)

// With --keep-logs a container's start clears the logs of containers that ended long ago,
// and nothing that a receiver writes to.
func TestKeepLogs(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	old := time.Now().AddDate(0, 0, -40)
	all := map[string]*Cheap{}
	for _, name := range []string{"quiet", "ended", "recent"} {
		c := NewCheap(t, h, name, cheapOptions{})
		all[name] = c
		if r := c.Hook(false, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		c.wantSent(t, c.Log(false), "first")
		if name != "quiet" {
			c.Stop()
			eventually(t, "only the quiet one is received from", func() bool { return len(h.Receivers()) == 1 })
		}
		if name != "recent" {
			check(t, os.Chtimes(c.Log(false), old, old))
			check(t, os.Chtimes(h.Path("/var/log/devlog/"+name), old, old))
		}
	}
	c := NewCheap(t, h, "next", cheapOptions{})
	if r := c.Hook(false, "repair", "--keep-logs", "30d"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	for name, kept := range map[string]bool{"quiet": true, "ended": false, "recent": true, "next": true} {
		if exists(h.Path("/var/log/devlog/"+name)) != kept {
			t.Errorf("%s is left: %t, want %t", name, !kept, kept)
		}
	}
	all["quiet"].wantSent(t, all["quiet"].Log(false), "second")
	c.wantSent(t, c.Log(false), "first")
}
