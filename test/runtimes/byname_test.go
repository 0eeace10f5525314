package runtimes

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"devlog/test/host"
)

// A running container is repaired from the host by its name in each runtime.
func TestRepairByName(t *testing.T) {
	// repair repairs the container whose process the command prints.
	repair := func(t *testing.T, h *host.Host, pidOf []string) {
		t.Helper()
		script := `hook=$1; shift; "$hook" repair --pid "$("$@")"`
		r := h.Must(append([]string{"sh", "-c", script, "sh", host.HookOn()}, pidOf...)...)
		m := regexp.MustCompile(`(?m)^messages go to (/var/log/devlog/\S+) on the host$`).FindStringSubmatch(r.Out)
		if m == nil {
			t.Fatalf("repair: %+v", r)
		}
		t.Cleanup(func() { host.WantOnce(t, h.Path(m[1]), host.ThreeTexts("x")...) })
	}
	t.Run("lxc", func(t *testing.T) {
		host.NeedContainers(t, "lxc")
		h := host.NewHost(t)
		c := host.BareLXC(t, h, "web")
		c.Start(host.Hold)
		repair(t, h, c.Args("lxc-info", "-p", "-H"))
		c.Attach("/bin/sh", "-c", host.ThreeClients("x"))
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
	})
	t.Run("podman", func(t *testing.T) {
		host.NeedContainers(t, "podman", "runc")
		h := host.NewHost(t)
		podman := host.NewPodman(t, h)
		rootfs := filepath.Join(t.TempDir(), "rootfs")
		host.NewRootfs(t, rootfs)
		h.Detached(podman("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
			"--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
		repair(t, h, podman("inspect", "-f", "{{.State.Pid}}", "web"))
		h.Must(podman("exec", "web", "/bin/sh", "-c", host.ThreeClients("x"))...)
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
		host.ExpectReceiversEnd(t, h)
	})
	t.Run("docker", func(t *testing.T) {
		host.NeedContainers(t, "docker", "runc")
		h := host.NewEngineHost(t)
		host.StartDocker(t, h)
		h.Must(host.Docker("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
			"--volume", "/dev:/dev", "clients", "/bin/sh", "-c", "read _")...)
		repair(t, h, host.Docker("inspect", "-f", "{{.State.Pid}}", "web"))
		h.Must(host.Docker("exec", "web", "/bin/sh", "-c", host.ThreeClients("x"))...)
		h.Must(host.Docker("kill", "web")...)
		host.ExpectReceiversEnd(t, h)
	})
}

// The messages of a container of podman are found by its name: in its log, or in its
// output, which conmon reads only while the container's first process runs.
func TestPodmanLogByName(t *testing.T) {
	host.NeedContainers(t, "podman", "runc")
	h := host.NewHost(t)
	host.Install(t, h)
	podman := host.NewPodman(t, h, "--hooks-dir", host.HooksDir(t, "devlog.oci-all.json"))
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	host.NewRootfs(t, rootfs)
	run := func(name string, flags ...string) {
		args := append([]string{"run", "--detach", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev"}, flags...)
		h.Must(podman(append(args, "--log-driver", "k8s-file", "--rootfs", rootfs, "/bin/sh", "-c", host.ThreeClients("x")+host.Hold)...)...)
	}
	end := func(name string) {
		host.Release(t, rootfs)
		h.Must(podman("wait", name)...)
		host.Check(t, os.Remove(filepath.Join(rootfs, "tmp/hold")))
	}
	run("web")
	id := strings.TrimSpace(h.Must(podman("inspect", "-f", "{{.Id}}", "web")...).Out)
	host.WantOnce(t, h.Path("/var/log/devlog/"+id+"/messages"), host.ThreeTexts("x")...)
	end("web")

	run("out", "--annotation", "devlog.dev/rules=*.* container-stdout")
	logs := func() string { return h.Must(podman("logs", "out")...).Out }
	host.Eventually(t, "the lines are in podman's log", func() bool { return strings.Count(logs(), "\n") >= len(host.ThreeTexts("x")) })
	end("out")
	host.WantLines(t, logs(), host.ThreeTexts("x")...)
	h.Must(podman("rm", "web", "out")...)
}
