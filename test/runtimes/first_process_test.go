package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// A container that shares the host's process IDs is repaired by any of its
// processes. Its receiver ends with the container, not with that process.
func TestRepairByAnyProcess(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", "sleep 1000 & echo $! >/run/child; wait $!; client a 13 later\n"+host.Hold)
	c.SetPIDNamespace("")
	c.Write().Create()
	c.Start()
	var child string
	host.Eventually(t, "the container has a second process", func() bool {
		text, err := os.ReadFile(filepath.Join(c.Rootfs, "run/child"))
		child = strings.TrimSpace(string(text))
		return err == nil && child != ""
	})
	h.Must(host.HookOn(), "repair", "--pid", child, "--name", "c1")
	h.Must("kill", child)
	host.WantOnce(t, c.Log(), "later")
	if r := c.Exec("client", "a", "13", "last"); r.Code != 0 {
		t.Errorf("client: %+v", r)
	}
	host.WantOnce(t, c.Log(), "last")
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	host.ExpectReceiversEnd(t, h)
	h.Must(c.Args("delete")...)
}

// Containers that share one PID namespace, as in a pod, are each repaired by their
// own first process, and each one is listed.
func TestRepairSharedPID(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	first := host.NewOCI(t, h, "runc", "first", host.Hold)
	first.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	first.Write().Create()
	first.Start()
	_, firstPID := first.State()
	second := host.NewOCI(t, h, "runc", "second", "until test -L /dev/log && test -e /run/devlog/log; do sleep 0.01; done\n"+host.ThreeClients("b")+host.Hold)
	second.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	second.SetPIDNamespace(fmt.Sprintf("/proc/%d/ns/pid", firstPID))
	second.Write().Create()
	second.Start()
	_, secondPID := second.State()
	r := h.Do(host.HookOn(), "check", "--host")
	for _, pid := range []int{firstPID, secondPID} {
		if !strings.Contains(r.Out, "\n"+strconv.Itoa(pid)+" ") {
			t.Errorf("check --host does not list %d:\n%s", pid, r.Out)
		}
	}
	h.Must(host.HookOn(), "repair", "--pid", strconv.Itoa(secondPID), "--name", "second")
	host.WantOnce(t, second.Log(), host.ThreeTexts("b")...)
	if _, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/root/run/devlog", firstPID))); !os.IsNotExist(err) {
		t.Errorf("the first container was changed: %v", err)
	}
	host.Release(t, second.Rootfs)
	second.WaitStopped()
	host.ExpectReceiversEnd(t, h)
	host.Release(t, first.Rootfs)
	first.WaitStopped()
}
