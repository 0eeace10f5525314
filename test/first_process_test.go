package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// setPIDNamespace has the container use the PID namespace at that path; the host's
// where it is empty.
func (c *OCI) setPIDNamespace(path string) {
	linux := c.Config["linux"].(map[string]any)
	list := slices.DeleteFunc(linux["namespaces"].([]any), func(ns any) bool { return ns.(map[string]any)["type"] == "pid" })
	if path != "" {
		list = append(list, map[string]any{"type": "pid", "path": path})
	}
	linux["namespaces"] = list
}

// A container that shares the host's process IDs is repaired by any of its
// processes. Its receiver ends with the container, not with that process.
func TestRepairByAnyProcess(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", "sleep 1000 & echo $! >/run/child; wait $!; client a 13 later\n"+hold)
	c.setPIDNamespace("")
	c.Write().Create()
	c.Start()
	var child string
	eventually(t, "the container has a second process", func() bool {
		text, err := os.ReadFile(filepath.Join(c.Rootfs, "run/child"))
		child = strings.TrimSpace(string(text))
		return err == nil && child != ""
	})
	h.Must(hookOn(), "repair", "--pid", child, "--name", "c1")
	h.Must("kill", child)
	wantOnce(t, c.Log(), "later")
	if r := c.Exec("client", "a", "13", "last"); r.Code != 0 {
		t.Errorf("client: %+v", r)
	}
	wantOnce(t, c.Log(), "last")
	release(t, c.Rootfs)
	c.WaitStopped()
	expectReceiversEnd(t, h)
	h.Must(c.Args("delete")...)
}

// Containers that share one PID namespace, as in a pod, are each repaired by their
// own first process, and each one is listed.
func TestRepairSharedPID(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	first := NewOCI(t, h, "runc", "first", hold)
	first.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	first.Write().Create()
	first.Start()
	_, firstPID := first.State()
	second := NewOCI(t, h, "runc", "second", "until test -L /dev/log && test -e /run/devlog/log; do sleep 0.01; done\n"+threeClients("b")+hold)
	second.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	second.setPIDNamespace(fmt.Sprintf("/proc/%d/ns/pid", firstPID))
	second.Write().Create()
	second.Start()
	_, secondPID := second.State()
	r := h.Do(hookOn(), "check", "--host")
	for _, pid := range []int{firstPID, secondPID} {
		if !strings.Contains(r.Out, "\n"+strconv.Itoa(pid)+" ") {
			t.Errorf("check --host does not list %d:\n%s", pid, r.Out)
		}
	}
	h.Must(hookOn(), "repair", "--pid", strconv.Itoa(secondPID), "--name", "second")
	wantOnce(t, second.Log(), threeTexts("b")...)
	if _, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/root/run/devlog", firstPID))); !os.IsNotExist(err) {
		t.Errorf("the first container was changed: %v", err)
	}
	release(t, second.Rootfs)
	second.WaitStopped()
	expectReceiversEnd(t, h)
	release(t, first.Rootfs)
	first.WaitStopped()
}
