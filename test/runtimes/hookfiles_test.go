package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// For installed programs, "devlog-hook config" prints the files in hooks/, which the tests
// below use.
func TestConfigPrints(t *testing.T) {
	host.Need(t, "root")
	h := host.NewHost(t)
	host.Install(t, h)
	program := filepath.Join(host.InstallDir, "devlog-hook")
	kinds := map[string][]string{
		"lxc": {"devlog.lxc.conf"}, "lxc-unprivileged": {"devlog.lxc-unprivileged.conf"}, "podman": {"devlog.oci.json"},
		"docker": {"devlog.docker.json"}, "containerd": {"devlog.containerd.toml"}, "containerd1": {"devlog.containerd1.toml"}, "cri-o": {"devlog.oci.json"},
		"cdi": {"devlog.cdi.json"}, "kubernetes": {"devlog.kubernetes.yaml"},
		"sysvinit": {"devlog-host.init", "devlogd.init", "devlog.init"}, "openrc": {"devlog-host.openrc", "devlogd.openrc"}, "systemd-host": {"devlog-host.service"}, "systemd": {"devlogd.service", "devlogd.socket"},
		"s6": {"devlog.s6"}, "runit": {"devlog.runit"},
		"rsyslog": {"devlog.rsyslog.conf"}, "syslog-ng": {"devlog.syslog-ng.conf"}, "fluent-bit": {"devlog.fluent-bit.yaml"},
		"vector": {"devlog.vector.yaml"}, "otel": {"devlog.otel.yaml"},
	}
	known := map[string]bool{"devlog.oci-all.json": true}
	for kind, files := range kinds {
		h.Must("mkdir", "/run/"+kind)
		h.Must(program, "config", kind, "--dir", "/run/"+kind)
		printed := h.Must(program, "config", kind)
		for _, name := range files {
			known[name] = true
			want, err := os.ReadFile(host.HookFile(t, name))
			host.Check(t, err)
			got, err := os.ReadFile(h.Path("/run/" + kind + "/" + name))
			host.Check(t, err)
			if string(got) != string(want) {
				t.Errorf("config %s writes %s as\n%s", kind, name, got)
			}
			if len(files) == 1 && printed.Out != string(want) || !strings.Contains(printed.Out, string(want)) {
				t.Errorf("config %s prints\n%s", kind, printed.Out)
			}
			st, err := os.Stat(h.Path("/run/" + kind + "/" + name))
			host.Check(t, err)
			if runs := strings.HasPrefix(string(want), "#!"); st.Mode().Perm()&0o111 != 0 != runs {
				t.Errorf("%s has mode %v", name, st.Mode())
			}
		}
		if strings.HasSuffix(files[0], ".json") != strings.Contains(printed.ErrOut, "save it as /") && len(files) == 1 {
			t.Errorf("config %s says on standard error %q", kind, printed.ErrOut)
		}
	}
	entries, err := os.ReadDir(host.HookFile(t, ""))
	host.Check(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") && !known[e.Name()] {
			t.Errorf("hooks/%s is of no kind", e.Name())
		}
	}
	want, err := os.ReadFile(host.HookFile(t, "devlog.oci-all.json"))
	host.Check(t, err)
	if got := h.Must(program, "config", "podman", "--all").Out; got != string(want) {
		t.Errorf("config podman --all prints\n%s", got)
	}
}

// The LXC snippet, included unchanged.
func TestHookFileLXC(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	host.Install(t, h)
	c := host.BareLXC(t, h, "c1")
	c.Include(host.HookFile(t, "devlog.lxc.conf"), " opt/devlog ")
	if r := c.Execute(host.ThreeClients("x") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, c.Log(), host.ThreeTexts("x")...)
}

// The snippet for a container with a user namespace.
func TestHookFileLXCUnprivileged(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, h *host.Host){"adopt": host.Journal, "bind": host.LiveSocket} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			h := host.NewHost(t)
			host.Install(t, h)
			make(t, h)
			before := host.Tree(h)
			ids := fmt.Sprintf("0 %d 65536", host.FirstID)
			c := host.BareLXC(t, h, "c1", "lxc.idmap = u "+ids, "lxc.idmap = g "+ids)
			host.GiveTo(t, c.Rootfs)
			c.Include(host.HookFile(t, "devlog.lxc-unprivileged.conf"), " opt/devlog ", "/dev dev none", "lxc.autodev")
			c.Start(host.ThreeClients("x") + host.Hold)
			host.WantOnce(t, c.Log(), host.ThreeTexts("x")...)
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before)
		})
	}
}

// podmanRun runs three clients in a container of podman that has the host's
// /dev; it returns the container's log, seen from the test.
func podmanRun(t *testing.T, h *host.Host, who string, global []string, flags ...string) (log string) {
	t.Helper()
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	host.NewRootfs(t, rootfs)
	podman := host.NewPodman(t, h, global...)
	run := podman("run", "--name", "web", "--network", "none", "--cidfile", dir+"/id",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev")
	run = append(append(run, flags...), "--rootfs", rootfs, "/bin/sh", "-c", host.ThreeClients(who)+"exit 5")
	if r := h.Do(run...); r.Code != 5 {
		t.Fatalf("podman run %q: %+v", flags, r)
	}
	id, err := os.ReadFile(dir + "/id")
	host.Check(t, err)
	h.Must(podman("rm", "web")...) // by itself, podman 5 would remove the file too
	return h.Path("/var/log/devlog/" + string(id) + "/messages")
}

// The hooks.d files, unchanged: podman's for all containers, and the one for containers with the
// annotation, which CRI-O reads too.
func TestHookFilePodman(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.Install(t, h)
	receive := host.ListenOn(t, h, "/dev/log")
	all := []string{"--hooks-dir", host.HooksDir(t, "devlog.oci-all.json")}
	host.WantOnce(t, podmanRun(t, h, "w", all), host.ThreeTexts("w")...)
	global := []string{"--hooks-dir", host.HooksDir(t, "devlog.oci.json")}
	host.WantOnce(t, podmanRun(t, h, "x", global, "--annotation", "devlog.dev/log=on"), host.ThreeTexts("x")...)
	if log := podmanRun(t, h, "y", global); host.Exists(log) {
		t.Error("a hook has run without the annotation")
	}
	for _, want := range host.ThreeTexts("y") {
		if got := receive(); !strings.HasSuffix(got, ": "+want) {
			t.Errorf("the host received %q, want %q", got, want)
		}
	}
}

// The device of the Container Device Interface.
func TestHookFileCDI(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.Install(t, h)
	host.Overlay(h, "/etc")
	h.Must("mkdir", "-p", "/etc/cdi")
	h.Must("cp", host.HookFile(t, "devlog.cdi.json"), "/etc/cdi/devlog.json")
	host.WantOnce(t, podmanRun(t, h, "x", nil, "--device", "devlog.dev/log=on"), host.ThreeTexts("x")...)
	host.ExpectReceiversEnd(t, h)
}
