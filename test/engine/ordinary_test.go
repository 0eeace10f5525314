package engine

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/test/host"
)

// A container as engines make it by default, with a /dev of its own and no
// /dev/log in it, logs too.

func TestOrdinaryDocker(t *testing.T) {
	host.NeedContainers(t, "docker", "runc")
	h := host.NewEngineHost(t)
	host.StartDocker(t, h)
	r := h.Do(host.Docker("run", "--runtime", "devlog", "--name", "c1", "--network", "none", "--ulimit", "nofile=1024:1024",
		"clients", "/bin/sh", "-c", host.ThreeClients("a")+"exit 5")...)
	if r.Code != 5 {
		t.Fatalf("docker run: %+v", r)
	}
	host.WantOnce(t, host.DockerLog(h, "c1"), host.ThreeTexts("a")...)
	host.ExpectReceiversEnd(t, h)
}

func TestOrdinaryPodman(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.Install(t, h)
	host.Overlay(h, "/etc")
	h.Must("mkdir", "-p", "/etc/cdi")
	h.Must("cp", host.HookFile(t, "devlog.cdi.json"), "/etc/cdi/devlog.json")
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	host.NewRootfs(t, rootfs)
	r := h.Do(host.NewPodman(t, h)("run", "--rm", "--network", "none", "--cidfile", dir+"/id", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--device", "devlog.dev/log=on", "--rootfs", rootfs, "/bin/sh", "-c", host.ThreeClients("a")+"exit 5")...)
	if r.Code != 5 {
		t.Fatalf("podman run: %+v", r)
	}
	id, err := os.ReadFile(dir + "/id")
	host.Check(t, err)
	host.WantOnce(t, h.Path("/var/log/devlog/"+string(id)+"/messages"), host.ThreeTexts("a")...)
	host.ExpectReceiversEnd(t, h)
}

func TestOrdinaryLXC(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	host.Install(t, h)
	c := host.BareLXC(t, h, "c1", "lxc.autodev = 1")
	c.Include(host.HookFile(t, "devlog.lxc.conf"), " opt/devlog ", "/dev dev none", "lxc.autodev = 0")
	if r := c.Execute(host.ThreeClients("a") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
}
