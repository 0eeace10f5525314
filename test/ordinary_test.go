package test

import (
	"os"
	"path/filepath"
	"testing"
)

// A container as engines make it by default, with a /dev of its own and no
// /dev/log in it, logs too.

func TestOrdinaryDocker(t *testing.T) {
	needContainers(t, "docker", "runc")
	h := newEngineHost(t)
	startDocker(t, h)
	r := h.Do(docker("run", "--runtime", "devlog", "--name", "c1", "--network", "none", "--ulimit", "nofile=1024:1024",
		"clients", "/bin/sh", "-c", threeClients("a")+"exit 5")...)
	if r.Code != 5 {
		t.Fatalf("docker run: %+v", r)
	}
	wantOnce(t, dockerLog(h, "c1"), threeTexts("a")...)
	expectReceiversEnd(t, h)
}

func TestOrdinaryPodman(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	install(t, h)
	overlay(h, "/etc")
	h.Must("mkdir", "-p", "/etc/cdi")
	h.Must("cp", hookFile(t, "devlog.cdi.json"), "/etc/cdi/devlog.json")
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	newRootfs(t, rootfs)
	r := h.Do(newPodman(t, h)("run", "--rm", "--network", "none", "--cidfile", dir+"/id", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--device", "devlog.dev/log=on", "--rootfs", rootfs, "/bin/sh", "-c", threeClients("a")+"exit 5")...)
	if r.Code != 5 {
		t.Fatalf("podman run: %+v", r)
	}
	id, err := os.ReadFile(dir + "/id")
	check(t, err)
	wantOnce(t, h.Path("/var/log/devlog/"+string(id)+"/messages"), threeTexts("a")...)
	expectReceiversEnd(t, h)
}

func TestOrdinaryLXC(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	install(t, h)
	c := newLXC(t, h, "c1", "lxc.autodev = 1")
	c.include(hookFile(t, "devlog.lxc.conf"), " opt/devlog ", "/dev dev none", "lxc.autodev = 0")
	if r := c.Execute(threeClients("a") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	wantOnce(t, c.Log(), threeTexts("a")...)
}
