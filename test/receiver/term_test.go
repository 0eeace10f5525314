package receiver

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// The shutdown of a host, or the stop of a runtime's cgroup, sends SIGTERM to the receiver with or
// before the container. The container's messages are still written until its end.
func TestTermBeforeContainer(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		c := host.NewOCI(t, h, runtime, "c1", "trap 'client a 13 last; exit 0' TERM\n"+host.ThreeClients("a")+"while :; do sleep 0.1; done")
		c.Hook(stage)
		c.Write().Create()
		c.Start()
		host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
		pid := h.Receivers()[0]
		for range 2 {
			h.Must("kill", "-TERM", strconv.Itoa(pid))
		}
		saysAwaits(t, c.Log())
		c.Exec("/bin/sh", "-c", "client a 13 meanwhile")
		_, first := c.State()
		h.Must("kill", "-TERM", strconv.Itoa(pid), strconv.Itoa(first))
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
		host.WantOnce(t, c.Log(), "meanwhile", "last")
		h.Must(c.Args("delete")...)
	})
}

// saysAwaits waits until a receiver logs that SIGTERM does not end it.
func saysAwaits(t *testing.T, log string) {
	t.Helper()
	host.Eventually(t, "the receiver says that it awaits the container's end", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Count(string(text), ": received SIGTERM: devlogd keeps running until its container ends; ") == 1
	})
}

// undo ends a receiver that waits for its container's end, and so does a repair that starts
// another one.
func TestTermThenUndo(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	before := host.Look(t, h, c)
	for range 2 {
		if r := c.Hook(false, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		pid := h.Receivers()[0]
		h.Must("kill", "-TERM", strconv.Itoa(pid))
		saysAwaits(t, c.Log(false))
		host.ExpectUndone(t, h, c, false, before)
		host.Check(t, os.Remove(c.Log(false)))
	}
	// In the container, init may send the signal to all processes and wait for them.
	if r := c.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair inside: %+v", r)
	}
	h.Must("kill", "-TERM", strconv.Itoa(h.Receivers()[0]))
	host.ExpectReceiversEnd(t, h)
}
