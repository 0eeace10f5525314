package host

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// NewPodman returns a function that makes a command of podman on the host, with the
// test's own storage.
func NewPodman(t *testing.T, h *Host, global ...string) func(args ...string) []string {
	t.Helper()
	dir := podmanDir(t, h)
	line := append([]string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
		"--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}, global...)
	return func(args ...string) []string { return append(line[:len(line):len(line)], args...) }
}

// RunPodman starts a container that has the host's /dev and waits, and returns its ID.
func RunPodman(t *testing.T, h *Host, podman func(args ...string) []string, name string) string {
	t.Helper()
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	NewRootfs(t, rootfs)
	h.Detached(podman("run", "--detach", "--interactive", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024",
		"--ulimit", "nproc=4096:4096", "--volume", "/dev:/dev", "--rootfs", rootfs, "/bin/sh", "-c", "read _")...)
	return strings.TrimSpace(h.Must(podman("inspect", "-f", "{{.Id}}", name)...).Out)
}

// HooksD makes a hooks.d directory with a hook at the stages (oci-hooks(5)). podman
// silently skips a hook that does not exist on the host, so the program has the same
// path in the container.
func HooksD(t *testing.T, stages []string, flags ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "hooks.d")
	Check(t, os.Mkdir(dir, 0o755))
	for _, stage := range stages {
		text, err := json.Marshal(map[string]any{
			"version": "1.0.0",
			"hook": map[string]any{"path": HookOn(), "args": append([]string{"devlog-hook", "oci", "--stage", stage}, flags...),
				"env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, "timeout": 30},
			"when": map[string]any{"hasBindMounts": true}, "stages": []string{stage},
		})
		Check(t, err)
		Check(t, os.WriteFile(filepath.Join(dir, stage+".json"), text, 0o644))
	}
	return dir
}

// podmanDir returns a directory for podman's storage. After a container's end, conmon runs a
// command that writes there, so it is removed after that.
func podmanDir(t *testing.T, h *Host) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { Eventually(t, "nothing of podman's runs", func() bool { return len(h.Processes()) == 0 }) })
	return dir
}

// Podman returns the command line that runs a script in a container with the host's
// /dev.
func Podman(t *testing.T, h *Host, runtime, rootfs, hooks, script string, flags ...string) []string {
	t.Helper()
	dir := podmanDir(t, h)
	line := []string{"podman", "--root", dir + "/storage", "--runroot", "/run/podman", "--storage-driver", "vfs",
		"--runtime", runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--hooks-dir", hooks,
		"run", "--rm", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",
		"--volume", "/dev:/dev", "--volume", BinDir + ":" + BinDir + ":ro"}
	line = append(line, flags...)
	return append(line, "--rootfs", rootfs, "/bin/sh", "-c", script)
}

// OnlyLogged returns the ID of the only container that has logged to the host. Podman 5 removes
// the file of an ID with the container, so a test cannot read it there.
func OnlyLogged(t *testing.T, h *Host) string {
	t.Helper()
	logs, err := filepath.Glob(h.Path("/var/log/devlog/*/messages"))
	Check(t, err)
	if len(logs) != 1 {
		t.Fatalf("want the log of one container: %q", logs)
	}
	return filepath.Base(filepath.Dir(logs[0]))
}
