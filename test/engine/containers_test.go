package engine

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// repairNamed repairs a container by its name, checks it by each of the names, logs in it, and
// undoes the repair.
func repairNamed(t *testing.T, h *host.Host, exec func(args ...string) []string, names ...string) {
	t.Helper()
	for _, name := range names {
		if r := h.Do(host.HookOn(), "check", name); r.Code != 1 || !strings.Contains(r.Out, "/dev/log") {
			t.Errorf("check %s before the repair: %+v", name, r)
		}
	}
	r := h.Must(host.HookOn(), "repair", names[0])
	_, after, _ := strings.Cut(r.Out, "messages go to ")
	log := strings.TrimSuffix(strings.TrimSpace(after), " on the host")
	h.Must(exec("/bin/sh", "-c", host.ThreeClients("x"))...)
	host.WantOnce(t, h.Path(log), host.ThreeTexts("x")...)
	for _, name := range names {
		r := h.Must(host.HookOn(), "check", name, "--json") // options after the name, too
		var result map[string]any
		host.Check(t, json.Unmarshal([]byte(r.Out), &result))
	}
	h.Must(host.HookOn(), "undo", names[len(names)-1])
	host.ExpectReceiversEnd(t, h)
}

// Containers are found by what their engines call them.
func TestContainerNames(t *testing.T) {
	t.Run("podman", func(t *testing.T) {
		host.NeedContainers(t, "podman", "runc")
		h := host.NewHost(t)
		podman := host.NewPodman(t, h)
		id := host.RunPodman(t, h, podman, "web")
		repairNamed(t, h, func(args ...string) []string { return podman(append([]string{"exec", "web"}, args...)...) }, "web", id, id[:4], id[:12])
		h.Must(podman("rm", "--force", "--time", "0", "web")...)
	})
	t.Run("docker", func(t *testing.T) {
		host.NeedContainers(t, "docker", "runc")
		h := host.NewEngineHost(t)
		host.StartDocker(t, h)
		id := strings.TrimSpace(h.Must(host.Docker("run", "--detach", "--interactive", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024",
			"--volume", "/dev:/dev", "clients", "/bin/sh", "-c", "read _")...).Out)
		r := h.Do(host.HookOn(), "check", "--host")
		if f := strings.Fields(sharersTable(t, r.Out)[1]); len(f) < 3 || f[2] != "web" || strings.Contains(r.Out, id) {
			t.Errorf("check --host: %+v", r)
		}
		if r := h.Do(host.HookOn(), "check", "--host", "--json"); !strings.Contains(r.Out, `"id": "`+id+`"`) || !strings.Contains(r.Out, `"called": "web"`) {
			t.Errorf("check --host --json: %+v", r)
		}
		repairNamed(t, h, func(args ...string) []string { return host.Docker(append([]string{"exec", "web"}, args...)...) }, id[:12], id, id[:4], "web")
		h.Must(host.Docker("kill", "web")...)
	})
	t.Run("lxc", func(t *testing.T) {
		host.NeedContainers(t, "lxc")
		h := host.NewHost(t)
		c := host.BareLXC(t, h, "web")
		c.Start(host.Hold)
		repairNamed(t, h, func(args ...string) []string { return c.Args("lxc-attach", append([]string{"--"}, args...)...) }, "web")
		host.Release(t, c.Rootfs)
		c.WaitStopped()
	})
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			c := host.NewOCI(t, h, runtime, "web", host.Hold)
			// It is found in the runtime's directory of states.
			own := func(args ...string) []string {
				line := c.Args(args[0], args[1:]...)
				return slices.Delete(line, 1, 3)
			}
			c.Write()
			h.Detached(own("run", "--detach")...)
			repairNamed(t, h, func(args ...string) []string { return own(append([]string{"exec", "web"}, args...)...) }, "web")
			host.Release(t, c.Rootfs)
			host.Eventually(t, "the container has ended", func() bool { return len(h.Processes()) == 0 })
			h.Must(own("delete")...)
		})
	}
}

// A name of two containers, or of none, is an error that lists what there is.
func TestContainerNames_errors(t *testing.T) {
	host.NeedContainers(t, "podman", "runc", "lxc")
	h := host.NewHost(t)
	podman := host.NewPodman(t, h)
	id := host.RunPodman(t, h, podman, "web")
	c := host.BareLXC(t, h, "web")
	c.Start(host.Hold)
	for _, command := range []string{"check", "repair", "undo"} {
		r := h.Do(host.HookOn(), command, "web")
		if r.Code != 2 || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, "2 containers are called \"web\": podman "+id[:12]+" web (process ") ||
			!strings.Contains(r.ErrOut, ", lxc web (process ") {
			t.Errorf("%s: %+v", command, r)
		}
		r = h.Do(host.HookOn(), command, "wbe")
		if r.Code != 4 || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, "and found web, web; hint: give its process with --pid") {
			t.Errorf("%s of none: %+v", command, r)
		}
	}
	if r := h.Do(host.HookOn(), "check", id[:6]); r.Code != 1 {
		t.Errorf("check by ID: %+v", r)
	}
	h.Must(podman("rm", "--force", "--time", "0", "web")...)
	host.Release(t, c.Rootfs)
	c.WaitStopped()
}
