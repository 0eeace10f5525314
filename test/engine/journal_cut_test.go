package engine

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"devlog/test/host"
)

// journalHost makes a host whose journal receives, and returns what receives for it, and what
// waits until a message of the host arrives there.
func journalHost(t *testing.T) (h *host.Host, wantReceived func(what string)) {
	t.Helper()
	host.NeedContainers(t)
	h = host.NewHost(t)
	h.Must("mkdir", "-p", "/run/systemd/journal")
	receive := host.ListenOn(t, h, hostJournal)
	h.Must("ln", "-s", hostJournal, "/dev/log")
	return h, func(what string) {
		t.Helper()
		host.Eventually(t, what+": /dev/log points to the journal", func() bool {
			to, err := os.Readlink(h.Path("/dev/log"))
			return err == nil && to == hostJournal
		})
		h.Must("logger", "--socket-errors=on", "-t", "host", what)
		if got := receive(); !strings.HasSuffix(got, what) {
			t.Errorf("%s: the journal received %q", what, got)
		}
	}
}

const hostJournal = "/run/systemd/journal/dev-log"

// On a host whose journal receives, root of a container that shares /dev removes or replaces
// /dev/log. The container's receiver makes it the link again that it was: the host and the
// containers have their messages, and no repair of the host is needed.
func TestJournalCutOff(t *testing.T) {
	for _, who := range []string{"own", "node", "inside"} {
		t.Run(who, func(t *testing.T) {
			h, wantReceived := journalHost(t)
			if who == "node" {
				startNode(t, h)
			}
			inside := who == "inside"
			c := host.NewCheap(t, h, "c1", host.CheapOptions{})
			other := host.NewCheap(t, h, "c2", host.CheapOptions{})
			for _, c := range []*host.Cheap{c, other} {
				if r := c.Hook(inside, "repair"); r.Code != 0 {
					t.Fatalf("repair: %+v", r)
				}
			}
			c.WantSent(t, c.Log(inside), "before")
			attacks := []string{"rm /dev/log", "rm /dev/log; mkdir /dev/log"}
			if who == "node" { // the others cannot see whether a link works on the host
				attacks = append(attacks, "ln -s /nowhere /dev/l; mv -T /dev/l /dev/log")
			}
			for i, do := range attacks {
				c.Sh(do)
				wantReceived(do)
				if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 0 && !strings.Contains(do, "mkdir") {
					t.Errorf("%s: check --host: %+v", do, r)
				}
				for _, c := range []*host.Cheap{c, other} {
					host.Eventually(t, "the container logs again", func() bool { return c.Hook(inside, "check").Code == 0 })
					c.WantSent(t, c.Log(inside), fmt.Sprint("after-", i))
				}
			}
			if r := c.Hook(inside, "undo"); r.Code != 0 {
				t.Errorf("undo: %+v", r)
			}
			wantReceived("after undo")
		})
	}
}

// The same, if the name was removed before the first container is repaired, or by a container
// that has no receiver: the repair of the next container finds the host's journal.
func TestJournalCutOffBefore(t *testing.T) {
	h, wantReceived := journalHost(t)
	h.Must("rm", "/dev/log")
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	wantReceived("a container is repaired")
	c.WantSent(t, c.Log(false), "first")
}

// Without a receiver that watches, repair --host points /dev/log to the journal again.
func TestJournalRepairHost(t *testing.T) {
	h, wantReceived := journalHost(t)
	h.Must("rm", "/dev/log")
	if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 1 || !strings.Contains(r.Out, "make /dev/log a link to "+hostJournal) {
		t.Errorf("check --host: %+v", r)
	}
	if r := h.Do(host.HookOn(), "repair", "--host"); r.Code != 0 {
		t.Fatalf("repair --host: %+v", r)
	}
	wantReceived("repair --host")
}
