package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wantByName waits until the link with that name leads to the logs of the container with
// that ID; without an ID, until there is no such link.
func wantByName(t *testing.T, h *Host, name, id string) {
	t.Helper()
	eventually(t, "the link "+name+" leads to "+id, func() bool {
		to, err := os.Readlink(h.Path("/var/log/devlog/by-name/" + name))
		return id == "" && os.IsNotExist(err) || id != "" && err == nil && to == "../"+id
	})
}

// The log of a container is found by the name that people know while it runs, whoever
// repaired it.
func TestLogByName(t *testing.T) {
	t.Run("podman", func(t *testing.T) {
		needContainers(t, "podman", "runc")
		h := NewHost(t)
		install(t, h)
		podman := newPodman(t, h, "--hooks-dir", hooksDir(t, "devlog.oci.json"))
		id := runPodman(t, h, podman, "web")
		wantByName(t, h, "web", id)
		h.Must(podman("exec", "web", "/bin/sh", "-c", threeClients("x"))...)
		wantOnce(t, h.Path("/var/log/devlog/by-name/web/messages"), threeTexts("x")...)
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
		wantByName(t, h, "web", "")
		id = runPodman(t, h, podman, "web") // another one
		wantByName(t, h, "web", id)
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
		expectReceiversEnd(t, h)
	})
	t.Run("docker", func(t *testing.T) {
		needContainers(t, "docker", "runc")
		h := newEngineHost(t)
		startDocker(t, h)
		id := strings.TrimSpace(h.Must(dockerRun("web", "read _", "--detach", "--interactive")...).Out)
		wantByName(t, h, "web", id)
		h.Must(docker("kill", "web")...)
		expectReceiversEnd(t, h)
		wantByName(t, h, "web", "")
	})
	t.Run("lxc", func(t *testing.T) {
		needContainers(t, "lxc")
		h := NewHost(t)
		c := newLXC(t, h, "web")
		c.Start(hold)
		h.Must(hookOn(), "repair", "web")
		wantByName(t, h, "web", "web")
		release(t, c.Rootfs)
		c.WaitStopped()
		expectReceiversEnd(t, h)
		wantByName(t, h, "web", "")
	})
}

// A link belongs to the container that made it last, and where rules send all elsewhere
// there is none.
func TestLogByName_twice(t *testing.T) {
	needContainers(t, "podman", "runc", "lxc")
	h := NewHost(t)
	podman := newPodman(t, h)
	c := newLXC(t, h, "web")
	c.Start(hold)
	h.Must(hookOn(), "repair", "web")
	wantByName(t, h, "web", "web")
	id := runPodman(t, h, podman, "web")
	h.Must(hookOn(), "repair", id)
	wantByName(t, h, "web", id)
	release(t, c.Rootfs)
	c.WaitStopped()
	eventually(t, "one receiver has ended", func() bool { return len(h.Receivers()) == 1 })
	wantByName(t, h, "web", id)
	h.Must(hookOn(), "undo", id)
	wantByName(t, h, "web", "")

	h.Must(hookOn(), "repair", id, "--rule", "*.* "+filepath.Join(t.TempDir(), "all"))
	wantByName(t, h, "web", "")
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
	expectReceiversEnd(t, h)
}
