package runtimes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// podman runs hooks of every stage in hooks.d, with either runtime.
func TestStagePodman(t *testing.T) {
	eachStage(t, []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart"}, func(t *testing.T, h *host.Host, runtime, stage string) {
		host.Need(t, "podman")
		rootfs := filepath.Join(t.TempDir(), "rootfs")
		host.NewRootfs(t, rootfs)
		script := "until readlink /dev/log >/dev/null; do sleep 0.01; done\n" + host.ThreeClients("a")
		log := "/var/log/messages"
		if hookInside := stage == "createContainer" || stage == "startContainer"; hookInside {
			// The end of init kills the receiver, even if it has messages to write.
			script += "until busybox grep -q bb-a " + log + "; do sleep 0.01; done\n"
		}
		r := h.Do(host.Podman(t, h, runtime, rootfs, host.HooksD(t, []string{stage, "poststop"}), script+"exit 5")...)
		if r.Code != 5 {
			t.Fatalf("podman run: %+v", r)
		}
		if stage == "createContainer" || stage == "startContainer" {
			log = filepath.Join(rootfs, log)
		} else {
			log = h.Path("/var/log/devlog/" + host.OnlyLogged(t, h) + "/messages")
		}
		host.WantOnce(t, log, host.ThreeTexts("a")...)
		host.ExpectReceiversEnd(t, h)
		if _, err := os.Stat(filepath.Join(rootfs, "run/devlog")); err == nil {
			t.Errorf("left in the container: %q", host.Snap(t, rootfs, "/run/devlog"))
		}
		for _, line := range h.Tree(nil, "/run") { // without the names of a prepared host
			if name := strings.SplitN(line, " ", 2)[1]; strings.Contains(name, "/run/devlog") && len(host.WithoutPrepared(t, h, []string{name})) > 0 {
				t.Errorf("left on the host: %q", line)
			}
		}
	})
}
