package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hooksD is a hooks.d directory with our hook at the stages (oci-hooks(5)).
// podman passes over, without a word, a hook that it does not find on the host,
// so in the container the program has the same path.
func hooksD(t *testing.T, stages []string, flags ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hooks.d")
	check(t, os.Mkdir(dir, 0o755))
	for _, stage := range stages {
		text, err := json.Marshal(map[string]any{
			"version": "1.0.0",
			"hook": map[string]any{"path": hookOn(), "args": append([]string{"devlog-hook", "oci", "--stage", stage}, flags...),
				"env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, "timeout": 30},
			"when": map[string]any{"hasBindMounts": true}, "stages": []string{stage},
		})
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, stage+".json"), text, 0o644))
	}
	return dir
}

// podman is the command line that runs a script in a container with the host's
// /dev.
func podman(t *testing.T, runtime, rootfs, hooks, script string, flags ...string) []string {
	t.Helper()
	dir := t.TempDir()
	line := []string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
		"--runtime", runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--hooks-dir", hooks,
		"run", "--rm", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",
		"--volume", "/dev:/dev", "--volume", binDir + ":" + binDir + ":ro"}
	line = append(line, flags...)
	return append(line, "--rootfs", rootfs, "/bin/sh", "-c", script)
}

// podman passes every stage of hooks.d on, with either runtime.
func TestStagePodman(t *testing.T) {
	eachStage(t, []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart"}, func(t *testing.T, h *Host, runtime, stage string) {
		need(t, "podman")
		rootfs := filepath.Join(t.TempDir(), "rootfs")
		newRootfs(t, rootfs)
		id := filepath.Join(t.TempDir(), "id")
		script := "until readlink /dev/log >/dev/null; do sleep 0.01; done\n" + threeClients("a")
		log := "/var/log/messages"
		if hookInside := stage == "createContainer" || stage == "startContainer"; hookInside {
			// The end of init kills the receiver, whatever it has still to write.
			script += "until busybox grep -q bb-a " + log + "; do sleep 0.01; done\n"
		}
		r := h.Do(podman(t, runtime, rootfs, hooksD(t, []string{stage, "poststop"}), script+"exit 5", "--cidfile", id)...)
		if r.Code != 5 {
			t.Fatalf("podman run: %+v", r)
		}
		name, err := os.ReadFile(id)
		check(t, err)
		if stage == "createContainer" || stage == "startContainer" {
			log = filepath.Join(rootfs, log)
		} else {
			log = h.Path("/var/log/devlog/" + string(name) + "/messages")
		}
		wantOnce(t, log, threeTexts("a")...)
		expectReceiversEnd(t, h)
		if _, err := os.Stat(filepath.Join(rootfs, "run/devlog")); err == nil {
			t.Errorf("left in the container: %q", snap(t, rootfs, "/run/devlog"))
		}
		for _, line := range h.Tree(nil, "/run") { // but for what a prepared host has
			if name := strings.SplitN(line, " ", 2)[1]; strings.Contains(name, "/run/devlog") && len(withoutPrepared(t, h, []string{name})) > 0 {
				t.Errorf("left on the host: %q", line)
			}
		}
	})
}
