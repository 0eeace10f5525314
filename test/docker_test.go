package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// docker is a command of Docker's client, for the daemon of startDocker.
func docker(args ...string) []string {
	return engineCommand(append([]string{"docker", "--host", "unix:///run/docker.sock"}, args...)...)
}

// startDocker starts dockerd on the host, with the printed configuration where
// it looks for it and with more in its environment, and makes the image
// "clients".
func startDocker(t *testing.T, h *Host, env ...string) {
	t.Helper()
	startDockerWith(t, h, printed(h, "docker"), env...)
}

// startDockerWith is startDocker with that configuration.
func startDockerWith(t *testing.T, h *Host, config string, env ...string) {
	t.Helper()
	dir := t.TempDir()
	h.Must("mkdir", "-p", "/etc/docker")
	check(t, os.WriteFile(h.Path("/etc/docker/daemon.json"), []byte(config), 0o644))
	line := append([]string{"env"}, env...)
	startEngine(t, h, docker("version"), append(line,
		"dockerd", "--host", "unix:///run/docker.sock", "--data-root", dir+"/data", "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
		"--bridge", "none", "--iptables=false", "--storage-driver", "vfs", "--cgroup-parent", "/"+engineGroup())...)
	check(t, command("tar", "-C", template, "-cf", dir+"/clients.tar", "."))
	h.Must(docker("import", dir+"/clients.tar", "clients")...)
}

// dockerRun runs a script with our runtime, in a container that has the host's
// /dev.
func dockerRun(name, script string, flags ...string) []string {
	args := append([]string{"run", "--runtime", "devlog", "--name", name, "--network", "none", "--ulimit", "nofile=1024:1024", "--volume", "/dev:/dev"}, flags...)
	return docker(append(args, "clients", "/bin/sh", "-c", script)...)
}

// dockerLog is the log of a container, seen from the test: its ID is that of
// Docker.
func dockerLog(h *Host, name string) string {
	h.t.Helper()
	id := strings.TrimSpace(h.Must(docker("inspect", "--format", "{{.Id}}", name)...).Out)
	return h.Path(filepath.Join("/var/log/devlog", id, "messages"))
}

// Docker with the printed daemon.json.
func TestDocker(t *testing.T) {
	needContainers(t, "docker", "runc")
	h := newEngineHost(t)
	receive := listenOn(t, h, "/dev/log") // of the host's own daemon, which keeps it
	startDocker(t, h)
	if r := h.Do(dockerRun("c1", threeClients("a")+"exit 5")...); r.Code != 5 {
		t.Fatalf("docker run: %+v", r)
	}
	wantOnce(t, dockerLog(h, "c1"), threeTexts("a")...)
	expectReceiversEnd(t, h)

	// One that runs on, and is started again.
	for _, who := range []string{"b", "c"} {
		if who == "b" {
			h.Must(dockerRun("c2", "read _", "--detach", "--interactive")...)
		} else {
			h.Must(docker("start", "c2")...)
		}
		if n := len(h.Receivers()); n != 1 {
			t.Errorf("%d receivers of one container", n)
		}
		if r := h.Do(docker("exec", "c2", "/bin/sh", "-c", threeClients(who))...); r.Code != 0 {
			t.Errorf("docker exec: %+v", r)
		}
		wantOnce(t, dockerLog(h, "c2"), threeTexts(who)...)
		h.Must(docker("kill", "c2")...)
		expectReceiversEnd(t, h)
	}

	// Where it is not wanted there is no receiver.
	if r := h.Do(dockerRun("c3", "exit 4", "--env", "devlog=off")...); r.Code != 4 || exists(filepath.Dir(dockerLog(h, "c3"))) {
		t.Errorf("with devlog=off: %+v", r)
	}
	// Every other runtime is as it was.
	if r := h.Do(docker("run", "--name", "c4", "--network", "none", "--ulimit", "nofile=1024:1024", "clients", "/bin/sh", "-c", "exit 3")...); r.Code != 3 || exists(filepath.Dir(dockerLog(h, "c4"))) {
		t.Errorf("with runc: %+v", r)
	}
	h.Must("logger", "--socket-errors=on", "-t", "host", "still mine")
	if got := receive(); !strings.HasSuffix(got, "still mine") {
		t.Errorf("the host's daemon received %q", got)
	}
}

// What the administrator has set in the engine's environment is for the hook:
// here messages go to each container's own output, where "docker logs" shows
// them.
func TestDockerLogs(t *testing.T) {
	needContainers(t, "docker", "runc")
	h := newEngineHost(t)
	startDocker(t, h, "DEVLOG_RULE=*.* container-stdout")
	for _, name := range []string{"left", "right"} {
		h.Must(dockerRun(name, "echo out-"+name+"; "+threeClients(name)+"read _", "--detach", "--interactive")...)
	}
	for _, name := range []string{"left", "right"} {
		var got Result
		want := append([]string{"out-" + name}, threeTexts(name)...)
		eventually(t, "the messages of "+name+" in its logs", func() bool {
			got = h.Must(docker("logs", name)...)
			return !slices.ContainsFunc(want, func(text string) bool { return strings.Count(got.Out, text+"\n") != 1 })
		})
		if n := strings.Count(got.Out, "\n"); n != len(want) || got.ErrOut != "" {
			t.Errorf("docker logs %s: %+v", name, got)
		}
		h.Must(docker("kill", name)...)
	}
	expectReceiversEnd(t, h)
}
