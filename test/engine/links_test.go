package engine

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// While a container runs, its log has a link with the name that people know, whichever command
// repaired it.
func TestLogByName(t *testing.T) {
	t.Run("podman", func(t *testing.T) {
		host.NeedContainers(t, "podman", "runc")
		h := host.NewHost(t)
		host.Install(t, h)
		podman := host.NewPodman(t, h, "--hooks-dir", host.HooksDir(t, "devlog.oci-all.json"))
		id := host.RunPodman(t, h, podman, "web")
		host.WantByName(t, h, "web", id)
		wantCalled(t, h, "web")
		h.Must(podman("exec", "web", "/bin/sh", "-c", host.ThreeClients("x"))...)
		host.WantOnce(t, h.Path("/var/log/devlog/by-name/web/messages"), host.ThreeTexts("x")...)
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
		host.WantByName(t, h, "web", "")
		id = host.RunPodman(t, h, podman, "web") // another one
		host.WantByName(t, h, "web", id)
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
		host.ExpectReceiversEnd(t, h)
	})
	t.Run("docker", func(t *testing.T) {
		host.NeedContainers(t, "docker", "runc")
		h := host.NewEngineHost(t)
		host.StartDocker(t, h)
		id := strings.TrimSpace(h.Must(host.DockerRun("web", "read _", "--detach", "--interactive")...).Out)
		host.WantByName(t, h, "web", id)
		wantCalled(t, h, "web")
		h.Must(host.Docker("kill", "web")...)
		host.ExpectReceiversEnd(t, h)
		host.WantByName(t, h, "web", "")
	})
	t.Run("lxc", func(t *testing.T) {
		host.NeedContainers(t, "lxc")
		h := host.NewHost(t)
		c := host.BareLXC(t, h, "web")
		c.Start(host.Hold)
		h.Must(host.HookOn(), "repair", "web")
		host.WantByName(t, h, "web", "web")
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
		host.WantByName(t, h, "web", "")
	})
}

// A link belongs to the container that made it last. If rules send all messages elsewhere,
// there is no link.
func TestLogByName_twice(t *testing.T) {
	host.NeedContainers(t, "podman", "runc", "lxc")
	h := host.NewHost(t)
	podman := host.NewPodman(t, h)
	c := host.BareLXC(t, h, "web")
	c.Start(host.Hold)
	h.Must(host.HookOn(), "repair", "web")
	host.WantByName(t, h, "web", "web")
	id := host.RunPodman(t, h, podman, "web")
	h.Must(host.HookOn(), "repair", id)
	host.WantByName(t, h, "web", id)
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	host.Eventually(t, "one receiver has ended", func() bool { return len(h.Receivers()) == 1 })
	host.WantByName(t, h, "web", id)
	h.Must(host.HookOn(), "undo", id)
	host.WantByName(t, h, "web", "")

	h.Must(host.HookOn(), "repair", id, "--rule", "*.* "+filepath.Join(t.TempDir(), "all"))
	host.WantByName(t, h, "web", "")
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
	host.ExpectReceiversEnd(t, h)
}

// wantCalled checks that the host's journal is told the container's name.
func wantCalled(t *testing.T, h *host.Host, name string) {
	t.Helper()
	words := h.Must("cat", fmt.Sprintf("/proc/%d/cmdline", h.Receivers()[0])).Out
	if !strings.Contains(words, "\x00--container-name\x00"+name+"\x00") {
		t.Errorf("the receiver was started as %q", words)
	}
}
