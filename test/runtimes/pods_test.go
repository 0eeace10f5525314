package runtimes

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// Lines of a pod's container have the pod's name as their host, and its log has a link
// NAMESPACE_POD_CONTAINER. An annotation can be for one container of the pod only.
func TestPodNames(t *testing.T) {
	for engine, names := range map[string][3]string{
		"containerd": {"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name"},
		"cri-o":      {"io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"},
	} {
		for _, runtime := range []string{"runc", "crun"} {
			t.Run(engine+"/"+runtime, func(t *testing.T) {
				host.NeedContainers(t, runtime)
				h := host.NewHost(t)
				const log = "/var/log/devlog/c1/own"
				annotations := map[string]any{}
				if engine == "cri-o" {
					annotations["io.kubernetes.cri-o.ContainerType"] = "container"
				}
				c := host.Annotated(t, h, runtime, "createRuntime", host.ThreeClients("a")+host.Hold, annotations)
				maps.Copy(annotations, map[string]any{
					names[0]: "shop", names[1]: "web-0", names[2]: "nginx",
					"devlog.dev/rules.nginx": "*.* " + log, "devlog.dev/rules": "*.* /etc/others",
					"devlog.dev/socket.other": "nonsense", "devlog.example/rules": "nonsense",
					"devlog.strategy": "auto"})
				h.Detached(c.Write().Args("run", "--detach")...)
				held := host.WaitHeld(t, c.Rootfs)
				host.WantOnce(t, h.Path(log), host.ThreeTexts("a")...)
				text, err := os.ReadFile(h.Path(log))
				host.Check(t, err)
				for line := range strings.Lines(string(text)) {
					if !strings.Contains(line, " web-0 ") || strings.Contains(line, " c1 ") {
						t.Errorf("a line's host is not the pod: %q", line)
					}
				}
				if said := "annotation devlog.strategy is now called devlog.dev/strategy"; strings.Count(string(text), said) != 1 {
					t.Errorf("the old name is not mentioned once:\n%s", text)
				}
				host.WantByName(t, h, "shop_web-0_nginx", "c1")
				if _, err := os.Stat(filepath.Join(h.Path("/var/log/devlog/by-name/shop_web-0_nginx"), "own")); err != nil {
					t.Error(err)
				}
				_, err = held.WriteString("\n")
				host.Check(t, errors.Join(err, held.Close()))
				host.ExpectReceiversEnd(t, h)
				host.WantByName(t, h, "shop_web-0_nginx", "")
				h.Must(c.Args("delete")...)
			})
		}
	}
}

// A pod that mounts the host's /dev/log does not start if that is a dangling link. check --host
// says so.
func TestCheckHostDangling(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	const note = "mounts this /dev/log by itself does not start"
	check := func(want bool) {
		t.Helper()
		if r := h.Do(host.HookOn(), "check", "--host"); strings.Contains(r.Out, note) != want {
			t.Errorf("check --host: %+v", r)
		}
	}
	check(false)
	h.Must("ln", "-s", "/run/systemd/journal/dev-log", "/dev/log")
	check(true)
	h.Must("mkdir", "-p", "/run/systemd/journal")
	host.ListenOn(t, h, "/run/systemd/journal/dev-log")
	check(false)
}
