package host

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// enginePath is where deps.sh has unpacked a file of Docker or containerd.
func enginePath(name string) string {
	return Unpacked(filepath.Join("engines", name))
}

// EngineGroup is the cgroup of all containers that a test has an engine start.
func EngineGroup() string { return fmt.Sprintf("devlog-test-%d", os.Getpid()) }

// EngineCommand is a command that finds the engines' programs and libraries.
// Clients would read their own configuration in HOME.
func EngineCommand(args ...string) []string {
	libs := enginePath("lib/x86_64-linux-gnu") + ":" + enginePath("usr/lib/x86_64-linux-gnu")
	path := enginePath("usr/sbin") + ":" + enginePath("usr/bin") + ":/usr/sbin:/usr/bin:/sbin:/bin"
	return append([]string{"env", "PATH=" + path, "LD_LIBRARY_PATH=" + libs, "HOME=/run"}, args...)
}

// NewEngineHost makes a fake host with its own directories for everything that
// engines write.
func NewEngineHost(t *testing.T) *Host {
	t.Helper()
	h := NewHost(t)
	Overlay(h, "/etc")
	Overlay(h, "/opt")
	return h
}

// StartEngine starts an engine's daemon on the host and waits until the
// client's command succeeds. It is stopped at the end of the test.
func StartEngine(t *testing.T, h *Host, client []string, args ...string) {
	t.Helper()
	const pidFile = "/run/engine.pid"
	line := EngineCommand(append([]string{"sh", "-c", `echo $$ >` + pidFile + `; exec "$@"`, "sh"}, args...)...)
	cmd := h.Command(context.Background(), line...) // it is stopped after the test's context
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	Check(t, cmd.Start())
	ended := make(chan struct{})
	var end error
	go func() {
		end = cmd.Wait()
		close(ended)
	}()
	running := func() bool {
		select {
		case <-ended:
			return false
		default:
			return true
		}
	}
	t.Cleanup(func() {
		if pid, err := os.ReadFile(h.Path(pidFile)); err == nil && running() {
			Check(t, h.Command(context.Background(), "kill", "-TERM", strings.TrimSpace(string(pid))).Run())
		}
		<-ended
		if t.Failed() {
			t.Logf("%s: %v\n%s", args[0], end, &said)
		} else if end != nil {
			t.Errorf("end of %s: %v", args[0], end)
		}
		removeGroup(t, EngineGroup())
	})
	answers := false
	if !WaitFor(func() bool {
		answers = h.Do(EngineCommand(client...)...).Code == 0
		return answers || !running()
	}) || !answers {
		t.Fatalf("%s does not answer", args[0])
	}
}

// removeGroup removes a cgroup in which nothing runs any more, from every
// hierarchy.
func removeGroup(t *testing.T, name string) {
	t.Helper()
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	Check(t, err)
	if st, err := os.Stat("/sys/fs/cgroup/" + name); err == nil && st.IsDir() {
		groups = append(groups, "/sys/fs/cgroup/"+name) // cgroup v2 alone
	}
	for _, group := range groups {
		var dirs []string
		Check(t, filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil //nolint:nilerr // it may disappear meanwhile
		}))
		for _, dir := range slices.Backward(dirs) {
			Eventually(t, dir+" is empty", func() bool { return os.Remove(dir) == nil || !Exists(dir) })
		}
	}
}

// Exists returns whether the file exists.
func Exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// Printed returns what "devlog-hook config" prints on the host.
func Printed(h *Host, kind string) string {
	h.T.Helper()
	return h.Must(filepath.Join(BinDir, "devlog-hook"), "config", kind).Out
}

// Docker returns a command of Docker's client, for the daemon of StartDocker.
func Docker(args ...string) []string {
	return EngineCommand(append([]string{"docker", "--host", "unix:///run/docker.sock"}, args...)...)
}

// StartDocker starts dockerd on the host, with the printed configuration in its
// usual place and these environment variables, and makes the image "clients".
func StartDocker(t *testing.T, h *Host, env ...string) {
	t.Helper()
	StartDockerWith(t, h, Printed(h, "docker"), env...)
}

// StartDockerWith is StartDocker with that configuration.
func StartDockerWith(t *testing.T, h *Host, config string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	h.Must("mkdir", "-p", "/etc/docker")
	Check(t, os.WriteFile(h.Path("/etc/docker/daemon.json"), []byte(config), 0o644))
	line := append([]string{"env"}, env...)
	StartEngine(t, h, Docker("version"), append(line,
		"dockerd", "--host", "unix:///run/docker.sock", "--data-root", dir+"/data", "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
		"--bridge", "none", "--iptables=false", "--storage-driver", "vfs", "--cgroup-parent", "/"+EngineGroup())...)
	Check(t, Command("tar", "-C", template, "-cf", dir+"/clients.tar", "."))
	h.Must(Docker("import", dir+"/clients.tar", "clients")...)
}

// DockerRun runs a script with our runtime, in a container that has the host's
// /dev.
func DockerRun(name, script string, flags ...string) []string {
	args := append([]string{"run", "--runtime", "devlog", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024", "--volume", "/dev:/dev"}, flags...)
	return Docker(append(args, "clients", "/bin/sh", "-c", script)...)
}

// DockerLog returns the log of a container with that ID, as the test sees it.
func DockerLog(h *Host, name string) string {
	h.T.Helper()
	id := strings.TrimSpace(h.Must(Docker("inspect", "--format", "{{.Id}}", name)...).Out)
	return h.Path(filepath.Join("/var/log/devlog", id, "messages"))
}
