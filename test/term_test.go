package test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Whoever stops a host, or the cgroup in which a runtime was called, sends SIGTERM
// to the receiver with the container or before it: what the container logs until
// its end is written all the same.
func TestTermBeforeContainer(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		c := NewOCI(t, h, runtime, "c1", "trap 'client a 13 last; exit 0' TERM\n"+threeClients("a")+"while :; do sleep 0.1; done")
		c.Hook(stage)
		c.Write().Create()
		c.Start()
		wantOnce(t, c.Log(), threeTexts("a")...)
		pid := h.Receivers()[0]
		for range 2 {
			h.Must("kill", "-TERM", strconv.Itoa(pid))
		}
		saysAwaits(t, c.Log())
		c.Exec("/bin/sh", "-c", "client a 13 meanwhile")
		_, first := c.State()
		h.Must("kill", "-TERM", strconv.Itoa(pid), strconv.Itoa(first))
		c.WaitStopped()
		expectReceiversEnd(t, h)
		wantOnce(t, c.Log(), "meanwhile", "last")
		h.Must(c.Args("delete")...)
	})
}

// saysAwaits waits until a receiver says in its log that SIGTERM does not end it.
func saysAwaits(t *testing.T, log string) {
	t.Helper()
	eventually(t, "the receiver says that it awaits the container's end", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Count(string(text), ": received SIGTERM: devlogd keeps running until its container ends; ") == 1
	})
}

// What stays in the container's place of a receiver that awaits its end: undo ends
// it, and so does a repair that starts another one.
func TestTermThenUndo(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	c := NewCheap(t, h, "c1", cheapOptions{})
	before := look(t, h, c)
	for range 2 {
		if r := c.Hook(false, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		pid := h.Receivers()[0]
		h.Must("kill", "-TERM", strconv.Itoa(pid))
		saysAwaits(t, c.Log(false))
		expectUndone(t, h, c, false, before)
		check(t, os.Remove(c.Log(false)))
	}
	// In the container its init may send the signal to all and wait for them.
	if r := c.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair inside: %+v", r)
	}
	h.Must("kill", "-TERM", strconv.Itoa(h.Receivers()[0]))
	expectReceiversEnd(t, h)
}

// systemctl stop ends a supervised receiver at once, SIGTERM only with its container.
func TestSupervisedStop(t *testing.T) {
	s := newSystemdHost(t)
	s.repair()
	s.h.Must("kill", "-TERM", strconv.Itoa(s.receiver(0)))
	saysAwaits(t, s.messages())
	check(t, send(s.connect(), "<14>test: last"))
	start := time.Now()
	s.must("/bin/systemctl", "stop", "devlog-box")
	if took := time.Since(start); took > promptly {
		t.Errorf("the stop took %v", took)
	}
	s.gone()
	wantOnce(t, s.messages(), "last")
	s.hook("undo", "--pid", s.pid)
	endSystemd(t, s.LXC)
}
