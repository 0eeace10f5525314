package test

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"testing"
)

// The table of containers has each that has a receiver, and what its receiver has written
// of its messages.
func TestList(t *testing.T) {
	needContainers(t, "podman", "runc", "lxc")
	h := NewHost(t)
	if r := h.Must(hookOn(), "list"); r.Out != "No container on this host has a receiver.\n" {
		t.Errorf("of none: %+v", r)
	}
	if r := h.Must(hookOn(), "list", "--json"); r.Out != "[]\n" {
		t.Errorf("JSON of none: %+v", r)
	}
	listenOn(t, h, "/dev/log")
	h.Must(hookOn(), "repair", "--host", "--keep") // is no container
	podman := newPodman(t, h)
	id := runPodman(t, h, podman, "web")
	metrics := filepath.Join(t.TempDir(), "metrics")
	h.Must(hookOn(), "repair", "web", "--metrics-file", metrics)
	h.Must(podman("exec", "web", "/bin/sh", "-c", threeClients("x"))...)
	c := newLXC(t, h, "box")
	c.Start(hold)
	h.Must(hookOn(), "repair", "box", "--rule", "*.* /var/log/box")
	cheap := NewCheap(t, h, "bare", cheapOptions{})
	if r := cheap.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}

	var out string
	want := regexp.MustCompile(`^CONTAINER +ENGINE +PID +SOCKET +RULES +MESSAGES +LOST +SINCE
bare +- +\d+ +/run/devlog/log +2 +- +- +20\S+ \d\d:\d\d
box +lxc +\d+ +/run/devlog/log +1 +- +- +20\S+ \d\d:\d\d
web +podman +\d+ +/run/devlog/log +2 +3 +0 +20\S+ \d\d:\d\d
$`)
	eventually(t, "the account is written", func() bool {
		out = h.Must(hookOn(), "list").Out
		return want.MatchString(out)
	})
	var list []struct {
		Container, ID, Engine string
		PID, Receiver         int
		Messages              *int
	}
	check(t, json.Unmarshal([]byte(h.Must(hookOn(), "list", "--json").Out), &list))
	if len(list) != 3 || list[2].ID != id || list[2].Messages == nil || *list[2].Messages != 3 || list[1].Messages != nil || list[1].Receiver == 0 {
		t.Errorf("JSON: %+v", list)
	}
	h.Must(hookOn(), "undo", "--host")
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
	release(t, c.Rootfs)
	c.WaitStopped()
	cheap.Stop()
	expectReceiversEnd(t, h)
}
