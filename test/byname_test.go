package test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A container that runs already is repaired from the host by its name, in each
// runtime's own words.
func TestRepairByName(t *testing.T) {
	// repair repairs the container whose process that command prints.
	repair := func(t *testing.T, h *Host, pidOf []string) {
		t.Helper()
		script := `hook=$1; shift; "$hook" repair --pid "$("$@")"`
		r := h.Must(append([]string{"sh", "-c", script, "sh", hookOn()}, pidOf...)...)
		m := regexp.MustCompile(`(?m)^messages go to (/var/log/devlog/\S+) on the host$`).FindStringSubmatch(r.Out)
		if m == nil {
			t.Fatalf("repair: %+v", r)
		}
		t.Cleanup(func() { wantOnce(t, h.Path(m[1]), threeTexts("x")...) })
	}
	t.Run("lxc", func(t *testing.T) {
		needContainers(t, "lxc")
		h := NewHost(t)
		c := newLXC(t, h, "web")
		c.Start(hold)
		repair(t, h, c.Args("lxc-info", "-p", "-H"))
		c.Attach("/bin/sh", "-c", threeClients("x"))
		release(t, c.Rootfs)
		c.WaitStopped()
		expectReceiversEnd(t, h)
	})
	t.Run("podman", func(t *testing.T) {
		needContainers(t, "podman", "runc")
		h := NewHost(t)
		podman := newPodman(t, h)
		rootfs := filepath.Join(t.TempDir(), "rootfs")
		newRootfs(t, rootfs)
		h.Detached(podman("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
			"--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
		repair(t, h, podman("inspect", "-f", "{{.State.Pid}}", "web"))
		h.Must(podman("exec", "web", "/bin/sh", "-c", threeClients("x"))...)
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
		expectReceiversEnd(t, h)
	})
	t.Run("docker", func(t *testing.T) {
		needContainers(t, "docker", "runc")
		h := newEngineHost(t)
		startDocker(t, h)
		h.Must(docker("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
			"--volume", "/dev:/dev", "clients", "/bin/sh", "-c", "read _")...)
		repair(t, h, docker("inspect", "-f", "{{.State.Pid}}", "web"))
		h.Must(docker("exec", "web", "/bin/sh", "-c", threeClients("x"))...)
		h.Must(docker("kill", "web")...)
		expectReceiversEnd(t, h)
	})
}

// The messages of a container of podman are found by its name: in its log, or
// in its output.
func TestPodmanLogByName(t *testing.T) {
	needContainers(t, "podman", "runc")
	h := NewHost(t)
	install(t, h)
	podman := newPodman(t, h, "--hooks-dir", hooksDir(t, "devlog.oci.json"))
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	newRootfs(t, rootfs)
	run := func(name string, flags ...string) {
		args := append([]string{"run", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev"}, flags...)
		h.Must(podman(append(args, "--log-driver", "k8s-file", "--rootfs", rootfs, "/bin/sh", "-c", threeClients("x"))...)...)
	}
	run("web")
	id := strings.TrimSpace(h.Must(podman("inspect", "-f", "{{.Id}}", "web")...).Out)
	wantOnce(t, h.Path("/var/log/devlog/"+id+"/messages"), threeTexts("x")...)

	run("out", "--annotation", "devlog.dev/rules=*.* container-stdout")
	wantLines(t, h.Must(podman("logs", "out")...).Out, threeTexts("x")...)
	h.Must(podman("rm", "web", "out")...)
}

// newPodman returns what makes a command of podman's on the host, with storage of
// the test's own.
func newPodman(t *testing.T, h *Host, global ...string) func(args ...string) []string {
	t.Helper()
	dir := t.TempDir()
	// What conmon runs when a container has ended writes to the storage, which is
	// not to be removed meanwhile.
	t.Cleanup(func() { eventually(t, "nothing of podman's runs", func() bool { return len(h.Processes()) == 0 }) })
	line := append([]string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}, global...)
	return func(args ...string) []string { return append(line[:len(line):len(line)], args...) }
}
