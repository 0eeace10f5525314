package engine

import (
	"os"
	"strings"
	"testing"

	"devlog/test/host"
)

// A repair removes temporary files of a killed one, even if it has nothing else to do. A
// directory with such a name stays, and does no harm.
func TestEngineLeftovers(t *testing.T) {
	for _, inside := range []bool{true, false} {
		host.NeedContainers(t)
		h := host.NewHost(t)
		c := host.NewCheap(t, h, "c1", host.CheapOptions{})
		host.Check(t, os.Mkdir(h.Path("/dev/.devlog-tmp-0"), 0o755))
		before := host.Look(t, h, c)
		leave := func() {
			t.Helper()
			_ = host.Listen(t, h.Path("/dev/.devlog-tmp-1"))
			host.Check(t, os.Symlink("/run/devlog/log", h.Path("/dev/.devlog-tmp-2")))
			c.Sh("mkdir -p /run/devlog; echo '{' >/run/devlog/.devlog-tmp-devlog-repair-FILE; mkfifo /run/devlog/.devlog-tmp-log-FIFO")
		}
		leave()
		for range 2 {
			if r := c.Hook(inside, "repair", "--no-auto-repair"); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			if r := c.Hook(inside, "check"); r.Code != 0 {
				t.Errorf("check: %+v", r)
			}
			all := append(host.Snap(t, h.Path("/"), "/dev"), host.Snap(t, c.Path("/"), "/run")...)
			if left := leftovers(all); len(left) != 1 || !strings.HasSuffix(left[0], "/.devlog-tmp-0") {
				t.Errorf("left over: %q", left)
			}
			host.Check(t, os.Symlink("/run/devlog/log", h.Path("/dev/.devlog-tmp-3")))
		}
		host.Check(t, os.Remove(h.Path("/dev/.devlog-tmp-3")))
		if r := c.Hook(inside, "undo"); r.Code != 0 {
			t.Errorf("undo: %+v", r)
		}
		// The live socket got the name back from which it was taken.
		host.ExpectSame(t, "the host", before.Host, host.Look(t, h, c).Host, "/dev/log")
	}
}
