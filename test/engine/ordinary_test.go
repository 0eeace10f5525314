package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// A container as engines make it by default, with its own /dev and no /dev/log, logs too.

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

// podman can use devlog in three ways: by a device, by an annotation, or for all containers.
func TestOrdinaryPodman(t *testing.T) {
	for name, tt := range map[string]struct {
		hooks string // of hooks.d
		asks  []string
	}{
		"device":     {"", []string{"--device", "devlog.dev/log=on"}},
		"annotation": {"devlog.oci.json", []string{"--annotation", "devlog.dev/log=on"}},
		"all":        {"devlog.oci-all.json", nil},
	} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "podman", "runc")
			h := host.NewHost(t)
			host.Install(t, h)
			host.Overlay(h, "/etc")
			h.Must("mkdir", "-p", "/etc/cdi")
			h.Must("cp", host.HookFile(t, "devlog.cdi.json"), "/etc/cdi/devlog.json")
			var global []string
			if tt.hooks != "" {
				global = []string{"--hooks-dir", host.HooksDir(t, tt.hooks)}
			}
			run := ordinary(t, h, global)
			host.WantOnce(t, run(tt.asks...), host.ThreeTexts("a")...)
			without := []string{} // a container that does not ask gets nothing
			if name == "all" {
				without = []string{"--annotation", "devlog.dev/log=off"}
			}
			if log := run(without...); host.Exists(filepath.Dir(log)) {
				t.Errorf("a container that does not ask for it has %s", filepath.Dir(log))
			}
			host.ExpectReceiversEnd(t, h)
		})
	}
}

// ordinary returns what runs three clients in a container of podman's, with more options, and
// returns where its log would be, seen from the test.
func ordinary(t *testing.T, h *host.Host, global []string) func(options ...string) (log string) {
	t.Helper()
	podman := host.NewPodman(t, h, global...)
	return func(options ...string) string {
		t.Helper()
		dir := t.TempDir()
		rootfs := filepath.Join(dir, "rootfs")
		host.NewRootfs(t, rootfs)
		line := append(podman("run", "--network", "none", "--cidfile", dir+"/id", "--ulimit", "nofile=1024:1024",
			"--ulimit", "nproc=4096:4096"), options...)
		r := h.Do(append(line, "--rootfs", rootfs, "/bin/sh", "-c", host.ThreeClients("a")+"exit 5")...)
		if r.Code != 5 {
			t.Fatalf("podman run %q: %+v", options, r)
		}
		id, err := os.ReadFile(dir + "/id")
		host.Check(t, err)
		h.Must(podman("rm", string(id))...) // by itself, podman 5 would remove the file too
		return h.Path("/var/log/devlog/" + string(id) + "/messages")
	}
}

// An ordinary container that logs nothing costs no file, and no inotify instance, of which a
// user has 128.
func TestOrdinarySilent(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.Install(t, h)
	podman := host.NewPodman(t, h, "--hooks-dir", host.HooksDir(t, "devlog.oci-all.json"))
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	host.NewRootfs(t, rootfs)
	h.Detached(podman("run", "--detach", "--interactive", "--name", "quiet", "--network", "none", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
	id := strings.TrimSpace(h.Must(podman("inspect", "-f", "{{.Id}}", "quiet")...).Out)
	dir := h.Path("/var/log/devlog/" + id)
	if logs, err := os.ReadDir(dir); err != nil || len(logs) > 0 {
		t.Errorf("%s has %v, %v", dir, logs, err)
	}
	receivers := h.Receivers()
	if len(receivers) != 1 {
		t.Fatalf("the receivers are %v", receivers)
	}
	fds, err := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fd/*", receivers[0])))
	host.Check(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.Contains(to, "inotify") {
			t.Error("the receiver has an inotify instance")
		}
	}
	h.Must(podman("exec", "quiet", "/bin/sh", "-c", host.ThreeClients("b"))...)
	host.WantOnce(t, filepath.Join(dir, "messages"), host.ThreeTexts("b")...)
	h.Must(podman("rm", "--force", "--time", "0", "quiet")...)
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

// check says that an annotation's name is unknown, also if no hook has run, which acts on
// devlog.dev/log.
func TestUnknownAnnotation(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.Install(t, h)
	const note = "ignored: unknown annotation devlog.dev/lgo (did you mean devlog.dev/log?)"
	podman := host.NewPodman(t, h, "--hooks-dir", host.HooksDir(t, "devlog.oci.json"))
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	host.NewRootfs(t, rootfs)
	h.Detached(podman("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--annotation", "devlog.dev/lgo=on", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
	if r := h.Do(host.HookOn(), "check", "web"); r.Code != 1 || !strings.Contains(r.Out, "note      "+note+"\n") {
		t.Errorf("check web: %+v", r)
	}
	if r := h.Do(host.HookOn(), "check"); !strings.Contains(r.Out, "/dev/log: does not exist; "+note) {
		t.Errorf("check: %+v", r)
	}
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
}
