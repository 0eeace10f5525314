package runtimes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// lxcOnHost are the lines that make LXC run devlog's hooks on the host. A shell runs a hook's line,
// after "exec".
func lxcOnHost(version int, env string) []string {
	return []string{
		fmt.Sprintf("lxc.hook.version = %d", version),
		"lxc.hook.start-host = " + env + host.HookOn(),
		"lxc.hook.post-stop = " + host.HookOn(),
	}
}

// With a hook on the host, all messages are in the host's file, the receiver runs on the host, and
// nothing is left afterwards, with either version of LXC's hooks.
func TestLXCStartHost(t *testing.T) {
	for _, version := range []int{0, 1} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			h := host.NewHost(t)
			before := host.Tree(h)
			c := host.BareLXC(t, h, "c1", lxcOnHost(version, "")...)
			// The output is not kept open, and nothing waits for the receiver.
			if r := c.Execute(host.ThreeClients("a") + "exit 5"); r.Code != 5 {
				t.Fatalf("lxc-execute: %+v", r)
			}
			log := h.Path("/var/log/devlog/c1/messages")
			host.WantOnce(t, log, host.ThreeTexts("a")...)
			c.Start(host.ThreeClients("b") + host.Hold)
			host.WantOnce(t, log, host.ThreeTexts("b")...)
			pids := h.Receivers()
			if len(pids) != 1 {
				t.Fatalf("receivers: %v", pids)
			}
			for _, ns := range []string{"mnt", "pid"} {
				got, err := os.Readlink(h.Path(fmt.Sprintf("/proc/%d/ns/%s", pids[0], ns)))
				host.Check(t, err)
				if want, err := os.Readlink(h.Path("/proc/1/ns/" + ns)); err != nil || got != want {
					t.Errorf("the receiver's %s namespace is not the host's: %v", ns, err)
				}
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before, host.OCILeaves("c1")...)
			host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
		})
	}
}

// lxc.hook.post-stop removes what the start hook's receiver leaves when it is killed with the
// container, with both versions of LXC's hooks.
func TestLXCPostStop(t *testing.T) {
	for _, version := range []int{0, 1} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			h := host.NewHost(t)
			c := host.NewLXC(t, h, "c1", fmt.Sprintf("lxc.hook.version = %d", version), "lxc.hook.post-stop = "+host.HookOn())
			before := host.Tree(h)
			c.Start(host.ThreeClients("a") + host.Hold)
			host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
			if left := host.Snap(t, c.Rootfs, "/run"); len(left) < 3 {
				t.Fatalf("there is nothing to clear: %q", left)
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
			host.Eventually(t, "nothing is left in the container's /run", func() bool {
				entries, err := os.ReadDir(filepath.Join(c.Rootfs, "run"))
				return err == nil && len(entries) == 0
			})
			host.ExpectNew(t, h, before, "/dev/log")
		})
	}
}

// A hook on the host for a container with an idmap: what it makes in the container belongs to the
// container's root. Its options are in the hook's line.
func TestLXCStartHostMapped(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	host.Journal(t, h)
	ids := fmt.Sprintf("0 %d 65536", host.FirstID)
	c := host.BareLXC(t, h, "c1", append(lxcOnHost(1, "env DEVLOG_RULE='*.* /var/log/own' "), "lxc.idmap = u "+ids, "lxc.idmap = g "+ids)...)
	host.GiveTo(t, c.Rootfs)
	conf, err := os.ReadFile(c.Conf)
	host.Check(t, err)
	// A user namespace may only bind a mount of the host with everything below it.
	conf = bytes.Replace(conf, []byte("/dev dev none rw,bind"), []byte("/dev dev none rw,rbind"), 1)
	host.Check(t, os.WriteFile(c.Conf, conf, 0o644))
	before := host.Tree(h)
	c.Start(host.ThreeClients("a") + host.Hold)
	host.WantOnce(t, h.Path("/var/log/own"), host.ThreeTexts("a")...)
	host.OwnedBy(t, filepath.Join(c.Rootfs, "run/systemd/journal/dev-log"), host.FirstID)
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	host.ExpectReceiversEnd(t, h)
	host.ExpectNew(t, h, before, "/var/log/own")
	host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
}

// With --on-error fail, a hook on the host makes the start fail, and writes the reason to a
// file there. A failing post-stop hook does not keep the container from ending.
func TestLXCStartHostFails(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	c := host.BareLXC(t, h, "c1", lxcOnHost(1, "env DEVLOG_ON_ERROR=fail DEVLOG_RULE=nonsense ")...)
	before := host.Tree(h)
	if r := c.Execute("exit 5"); r.Code == 5 || r.Code == 0 {
		t.Errorf("lxc-execute: %+v", r)
	}
	said, err := os.ReadFile(h.Path("/run/devlog/c1.log"))
	if err != nil || strings.Count(string(said), "\n") != 1 || !strings.Contains(string(said), `rule "nonsense"`) {
		t.Errorf("it says %q, %v", said, err)
	}
	host.ExpectNew(t, h, before, "/run/devlog", "/run/devlog/c1.log")
	r := h.Do("env", "LXC_NAME=c1", "LXC_HOOK_TYPE=post-stop", "LXC_ROOTFS_PATH=/nowhere", host.HookOn())
	if r.Code != 0 || r.Out+r.ErrOut != "" {
		t.Errorf("post-stop where there is nothing: %+v", r)
	}
}
