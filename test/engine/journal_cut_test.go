package engine

import (
	"os"
	"strings"
	"testing"

	"devlog/test/host"
)

// On a host whose journal receives, root of a container that shares /dev removes /dev/log. The
// container's receiver makes it again, for the container. A repair of the host points it to the
// journal; both have their messages then.
func TestJournalCutOff(t *testing.T) {
	for _, who := range []string{"own", "node"} {
		t.Run(who, func(t *testing.T) { journalCutOff(t, who == "node") })
	}
}

func journalCutOff(t *testing.T, node bool) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	if node {
		startNode(t, h)
	}
	h.Must("mkdir", "-p", "/run/systemd/journal")
	const journal = "/run/systemd/journal/dev-log"
	receive := host.ListenOn(t, h, journal)
	h.Must("ln", "-s", journal, "/dev/log")
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "before")
	for _, what := range []string{"removed", "made again"} {
		c.Sh("rm /dev/log")
		if what == "made again" {
			host.Eventually(t, "/dev/log is there again", func() bool { return host.Exists(h.Path("/dev/log")) })
		}
		host.Eventually(t, "check --host says what to do", func() bool {
			r := h.Do(host.HookOn(), "check", "--host")
			return r.Code == 1 && strings.Contains(r.Out, "make /dev/log a link to "+journal)
		})
		if r := h.Do(host.HookOn(), "repair", "--host"); r.Code != 0 {
			t.Fatalf("repair --host, %s: %+v", what, r)
		}
		if to, err := os.Readlink(h.Path("/dev/log")); err != nil || to != journal {
			t.Fatalf("%s: /dev/log points to %q, %v", what, to, err)
		}
		h.Must("logger", "--socket-errors=on", "-t", "host", what)
		if got := receive(); !strings.HasSuffix(got, what) {
			t.Errorf("%s: the journal received %q", what, got)
		}
		host.Eventually(t, "the container logs again", func() bool {
			return c.Hook(false, "check").Code == 0
		})
		c.WantSent(t, c.Log(false), "after-"+strings.ReplaceAll(what, " ", "-"))
	}
}
