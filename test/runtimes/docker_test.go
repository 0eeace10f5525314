package runtimes

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// Docker with the printed daemon.json.
func TestDocker(t *testing.T) {
	host.NeedContainers(t, "docker", "runc")
	h := host.NewEngineHost(t)
	receive := host.ListenOn(t, h, "/dev/log") // the host's daemon keeps it
	host.StartDocker(t, h)
	if r := h.Do(host.DockerRun("c1", host.ThreeClients("a")+"exit 5")...); r.Code != 5 {
		t.Fatalf("docker run: %+v", r)
	}
	host.WantOnce(t, host.DockerLog(h, "c1"), host.ThreeTexts("a")...)
	host.ExpectReceiversEnd(t, h)

	// A container that keeps running, and is restarted.
	for _, who := range []string{"b", "c"} {
		if who == "b" {
			h.Must(host.DockerRun("c2", "read _", "--detach", "--interactive")...)
		} else {
			h.Must(host.Docker("start", "c2")...)
		}
		if n := len(h.Receivers()); n != 1 {
			t.Errorf("%d receivers of one container", n)
		}
		if r := h.Do(host.Docker("exec", "c2", "/bin/sh", "-c", host.ThreeClients(who))...); r.Code != 0 {
			t.Errorf("docker exec: %+v", r)
		}
		host.WantOnce(t, host.DockerLog(h, "c2"), host.ThreeTexts(who)...)
		h.Must(host.Docker("kill", "c2")...)
		host.ExpectReceiversEnd(t, h)
	}

	// A container that opts out has no receiver.
	if r := h.Do(host.DockerRun("c3", "exit 4", "--env", "devlog=off")...); r.Code != 4 || host.Exists(filepath.Dir(host.DockerLog(h, "c3"))) {
		t.Errorf("with devlog=off: %+v", r)
	}
	// Other runtimes are unaffected.
	if r := h.Do(host.Docker("run", "--name", "c4", "--network", "none", "--ulimit", "nofile=1024:1024", "clients", "/bin/sh", "-c", "exit 3")...); r.Code != 3 || host.Exists(filepath.Dir(host.DockerLog(h, "c4"))) {
		t.Errorf("with runc: %+v", r)
	}
	h.Must("logger", "--socket-errors=on", "-t", "host", "still mine")
	if got := receive(); !strings.HasSuffix(got, "still mine") {
		t.Errorf("the host's daemon received %q", got)
	}
}

// The engine's environment configures the hook: here it sends messages to each container's
// standard output, where "docker logs" shows them.
func TestDockerLogs(t *testing.T) {
	host.NeedContainers(t, "docker", "runc")
	h := host.NewEngineHost(t)
	host.StartDocker(t, h, "DEVLOG_RULE=*.* container-stdout")
	for _, name := range []string{"left", "right"} {
		h.Must(host.DockerRun(name, "echo out-"+name+"; "+host.ThreeClients(name)+"read _", "--detach", "--interactive")...)
	}
	for _, name := range []string{"left", "right"} {
		var got host.Result
		want := append([]string{"out-" + name}, host.ThreeTexts(name)...)
		host.Eventually(t, "the messages of "+name+" in its logs", func() bool {
			got = h.Must(host.Docker("logs", name)...)
			return !slices.ContainsFunc(want, func(text string) bool { return strings.Count(got.Out, text+"\n") != 1 })
		})
		if n := strings.Count(got.Out, "\n"); n != len(want) || got.ErrOut != "" {
			t.Errorf("docker logs %s: %+v", name, got)
		}
		h.Must(host.Docker("kill", name)...)
	}
	host.ExpectReceiversEnd(t, h)
}
