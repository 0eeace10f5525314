package test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runPodman starts a container that has the host's /dev and waits, and returns its ID.
func runPodman(t *testing.T, h *Host, podman func(args ...string) []string, name string) string {
	t.Helper()
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	newRootfs(t, rootfs)
	h.Detached(podman("run", "--detach", "--interactive", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
	return strings.TrimSpace(h.Must(podman("inspect", "-f", "{{.Id}}", name)...).Out)
}

// repairNamed repairs a container by its name, checks it by each of the names, has it log,
// and undoes the repair.
func repairNamed(t *testing.T, h *Host, exec func(args ...string) []string, names ...string) {
	t.Helper()
	for _, name := range names {
		if r := h.Do(hookOn(), "check", name); r.Code != 1 || !strings.Contains(r.Out, "/dev/log") {
			t.Errorf("check %s before the repair: %+v", name, r)
		}
	}
	r := h.Must(hookOn(), "repair", names[0])
	_, after, _ := strings.Cut(r.Out, "messages go to ")
	log := strings.TrimSuffix(strings.TrimSpace(after), " on the host")
	h.Must(exec("/bin/sh", "-c", threeClients("x"))...)
	wantOnce(t, h.Path(log), threeTexts("x")...)
	for _, name := range names {
		r := h.Must(hookOn(), "check", name, "--json") // options after the name, too
		var result map[string]any
		check(t, json.Unmarshal([]byte(r.Out), &result))
	}
	h.Must(hookOn(), "undo", slices.Max(names))
	expectReceiversEnd(t, h)
}

// Containers are found by what their engines call them.
func TestContainerNames(t *testing.T) {
	t.Run("podman", func(t *testing.T) {
		needContainers(t, "podman", "runc")
		h := NewHost(t)
		podman := newPodman(t, h)
		id := runPodman(t, h, podman, "web")
		repairNamed(t, h, func(args ...string) []string { return podman(append([]string{"exec", "web"}, args...)...) }, "web", id, id[:4], id[:12])
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
	})
	t.Run("docker", func(t *testing.T) {
		needContainers(t, "docker", "runc")
		h := newEngineHost(t)
		startDocker(t, h)
		id := strings.TrimSpace(h.Must(docker("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
			"--volume", "/dev:/dev", "clients", "/bin/sh", "-c", "read _")...).Out)
		repairNamed(t, h, func(args ...string) []string { return docker(append([]string{"exec", "web"}, args...)...) }, "web", id, id[:4], id[:12])
		h.Must(docker("kill", "web")...)
	})
	t.Run("lxc", func(t *testing.T) {
		needContainers(t, "lxc")
		h := NewHost(t)
		c := newLXC(t, h, "web")
		c.Start(hold)
		repairNamed(t, h, func(args ...string) []string { return c.Args("lxc-attach", append([]string{"--"}, args...)...) }, "web")
		release(t, c.Rootfs)
		c.WaitStopped()
	})
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			needContainers(t, runtime)
			h := NewHost(t)
			c := NewOCI(t, h, runtime, "web", hold)
			// The runtime's own directory of states is where it is found.
			own := func(args ...string) []string {
				line := c.Args(args[0], args[1:]...)
				return slices.Delete(line, 1, 3)
			}
			c.Write()
			h.Detached(own("run", "--detach")...)
			repairNamed(t, h, func(args ...string) []string { return own(append([]string{"exec", "web"}, args...)...) }, "web")
			release(t, c.Rootfs)
			eventually(t, "the container has ended", func() bool { return len(h.Processes()) == 0 })
			h.Must(own("delete")...)
		})
	}
}

// A name that two containers have, or none, is an error that says what there is.
func TestContainerNames_errors(t *testing.T) {
	needContainers(t, "podman", "runc", "lxc")
	h := NewHost(t)
	podman := newPodman(t, h)
	id := runPodman(t, h, podman, "web")
	c := newLXC(t, h, "web")
	c.Start(hold)
	for _, command := range []string{"check", "repair", "undo"} {
		r := h.Do(hookOn(), command, "web")
		if r.Code != 2 || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, "2 containers are called \"web\": podman "+id[:12]+" web (process ") ||
			!strings.Contains(r.ErrOut, ", lxc web (process ") {
			t.Errorf("%s: %+v", command, r)
		}
		r = h.Do(hookOn(), command, "wbe")
		if r.Code != 4 || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, "and found web, web; give its process with --pid") {
			t.Errorf("%s of none: %+v", command, r)
		}
	}
	if r := h.Do(hookOn(), "check", id[:6]); r.Code != 1 {
		t.Errorf("check by ID: %+v", r)
	}
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
	release(t, c.Rootfs)
	c.WaitStopped()
}
