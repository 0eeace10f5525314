package runtimes

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"testing"

	"devlog/test/host"
)

// The table has each container with a receiver, and its counts of messages.
func TestList(t *testing.T) {
	host.NeedContainers(t, "podman", "runc", "lxc")
	h := host.NewHost(t)
	if r := h.Must(host.HookOn(), "list"); r.Out != "No container on this host has a receiver.\n" {
		t.Errorf("of none: %+v", r)
	}
	if r := h.Must(host.HookOn(), "list", "--json"); r.Out != "[]\n" {
		t.Errorf("JSON of none: %+v", r)
	}
	host.ListenOn(t, h, "/dev/log")
	h.Must(host.HookOn(), "repair", "--host", "--keep") // the host is not a container
	podman := host.NewPodman(t, h)
	id := host.RunPodman(t, h, podman, "web")
	metrics := filepath.Join(t.TempDir(), "metrics")
	h.Must(host.HookOn(), "repair", "web", "--metrics-file", metrics)
	h.Must(podman("exec", "web", "/bin/sh", "-c", host.ThreeClients("x"))...)
	c := host.BareLXC(t, h, "box")
	c.Start(host.Hold)
	h.Must(host.HookOn(), "repair", "box", "--rule", "*.* /var/log/box")
	cheap := host.NewCheap(t, h, "bare", host.CheapOptions{})
	if r := cheap.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	// Root in a container cannot add a receiver of another container, as by a program like one.
	hostile := host.NewCheap(t, h, "hostile", host.CheapOptions{After: "busybox cp /opt/devlog/devlogd /devlogd\n/devlogd --name web --listen /evil.sock --rule '*.* /evil' </dev/null >/dev/null 2>&1 &\nuntil test -S /evil.sock; do busybox sleep 0.01; done"})

	var out string
	want := regexp.MustCompile(`^CONTAINER +ENGINE +PID +SOCKET +RULES +MESSAGES +LOST +SINCE
- +- +\d+ +/run/devlog/log +2 +- +- +20\S+ \d\d:\d\d
box +lxc +\d+ +/run/devlog/log +1 +- +- +20\S+ \d\d:\d\d
web +podman +\d+ +/run/devlog/log +2 +3 +0 +20\S+ \d\d:\d\d
$`)
	host.Eventually(t, "the account is written", func() bool {
		out = h.Must(host.HookOn(), "list").Out
		return want.MatchString(out)
	})
	var list []struct {
		Container, ID, Engine string
		PID, Receiver         int
		Messages              *int
	}
	host.Check(t, json.Unmarshal([]byte(h.Must(host.HookOn(), "list", "--json").Out), &list))
	if len(list) != 3 || list[2].ID != id || list[2].Messages == nil || *list[2].Messages != 3 || list[1].Messages != nil || list[1].Receiver == 0 {
		t.Errorf("JSON: %+v", list)
	}
	hostile.Stop()
	h.Must(host.HookOn(), "undo", "--host")
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	cheap.Stop()
	host.ExpectReceiversEnd(t, h)
}
