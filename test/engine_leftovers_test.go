package test

import (
	"os"
	"strings"
	"testing"
)

// What a repair has left that was killed while it made a file under a temporary
// name is cleared away by the next one, also where that has nothing to do. A
// directory of such a name is somebody else's, and in nobody's way.
func TestEngineLeftovers(t *testing.T) {
	for _, inside := range []bool{true, false} {
		needContainers(t)
		h := NewHost(t)
		c := NewCheap(t, h, "c1", cheapOptions{})
		check(t, os.Mkdir(h.Path("/dev/.devlog-tmp-0"), 0o755))
		before := look(t, h, c)
		leave := func() {
			t.Helper()
			_ = listen(t, h.Path("/dev/.devlog-tmp-1"))
			check(t, os.Symlink("/run/devlog/log", h.Path("/dev/.devlog-tmp-2")))
			c.Sh("mkdir -p /run/devlog; echo '{' >/run/devlog/.devlog-tmp-devlog-repair-FILE; mkfifo /run/devlog/.devlog-tmp-log-FIFO")
		}
		leave()
		for range 2 {
			if r := c.Hook(inside, "repair", "--no-heal"); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			if r := c.Hook(inside, "check"); r.Code != 0 {
				t.Errorf("check: %+v", r)
			}
			all := append(snap(t, h.Path("/"), "/dev"), snap(t, c.Path("/"), "/run")...)
			if left := leftovers(all); len(left) != 1 || !strings.HasSuffix(left[0], "/.devlog-tmp-0") {
				t.Errorf("left over: %q", left)
			}
			check(t, os.Symlink("/run/devlog/log", h.Path("/dev/.devlog-tmp-3")))
		}
		check(t, os.Remove(h.Path("/dev/.devlog-tmp-3")))
		if r := c.Hook(inside, "undo"); r.Code != 0 {
			t.Errorf("undo: %+v", r)
		}
		// The live socket got the name back from which it was taken.
		expectSame(t, "the host", before.host, look(t, h, c).host, "/dev/log")
	}
}
