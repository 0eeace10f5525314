package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// With --keep-logs a container's start clears the logs of containers that ended long ago,
// and nothing that a receiver writes to.
func TestKeepLogs(t *testing.T) {
	for _, service := range []bool{false, true} {
		t.Run(fmt.Sprintf("service %t", service), func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			if service {
				startNode(t, h)
			}
			keepLogs(t, h)
		})
	}
}

func keepLogs(t *testing.T, h *host.Host) {
	old := time.Now().AddDate(0, 0, -40)
	all := map[string]*host.Cheap{}
	for _, name := range []string{"quiet", "ended", "recent"} {
		c := host.NewCheap(t, h, name, host.CheapOptions{})
		all[name] = c
		if r := c.Hook(false, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		c.WantSent(t, c.Log(false), "first")
		if name != "quiet" {
			c.Stop()
			host.Eventually(t, name+" is not received from", func() bool { return !strings.Contains(h.Must(host.HookOn(), "list").Out, name) })
		}
		if name != "recent" {
			host.Check(t, os.Chtimes(c.Log(false), old, old))
			host.Check(t, os.Chtimes(h.Path("/var/log/devlog/"+name), old, old))
		}
	}
	// Root in a container cannot have the logs of others kept, as by a program like a receiver.
	hostile := host.NewCheap(t, h, "hostile", host.CheapOptions{Bin: host.BinDir, After: "busybox cp /opt/devlog/devlogd /devlogd\n/devlogd --name ended --listen /evil.sock --rule '*.* /evil' </dev/null >/dev/null 2>&1 &\nuntil test -S /evil.sock; do busybox sleep 0.01; done"})
	c := host.NewCheap(t, h, "next", host.CheapOptions{})
	if r := c.Hook(false, "repair", "--keep-logs", "30d"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	for name, kept := range map[string]bool{"quiet": true, "ended": false, "recent": true, "next": true} {
		if host.Exists(h.Path("/var/log/devlog/"+name)) != kept {
			t.Errorf("%s is left: %t, want %t", name, !kept, kept)
		}
	}
	all["quiet"].WantSent(t, all["quiet"].Log(false), "second")
	c.WantSent(t, c.Log(false), "first")
	if !host.Exists(hostile.Path("/evil.sock")) {
		t.Error("the hostile container's program does not run")
	}
}
