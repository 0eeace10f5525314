package test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sendAsLogger sends what logger(1) of a container writes that calls itself that.
func sendAsLogger(t *testing.T, rootfs, host, text string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	path := filepath.Join(t.TempDir(), "root") // a socket's path is short
	check(t, os.Symlink(rootfs, path))
	check(t, unix.Connect(fd, &unix.SockaddrUnix{Name: path + "/run/devlog/log"}))
	check(t, send(fd, "<13>Nov 27 19:41:42 "+host+" web: "+text))
}

// wantText waits for the one line with the text, which has one host's name and the tag.
func wantText(t *testing.T, log, text string) {
	t.Helper()
	wantOnce(t, log, text)
	data, err := os.ReadFile(log)
	check(t, err)
	if !strings.Contains(string(data), " c1 web: "+text+"\n") {
		t.Errorf("%q", data)
	}
}

// The container's own name of its host, which is not the receiver's, is no part of
// a message: a hook finds it in config.json, repair in its UTS namespace.
func TestContainersHostName(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		c := NewOCI(t, h, runtime, "c1", hold)
		c.Config["hostname"] = "Inner-7.example"
		c.Hook(stage, "--rule", "*.* -/var/log/devlog/c1/messages", "--rule", "!web *.* -/var/log/devlog/c1/web")
		c.Write()
		c.Create()
		sendAsLogger(t, c.Rootfs, "inner-7", "a message")
		wantText(t, c.Log(), "a message")
		wantText(t, h.Path("/var/log/devlog/c1/web"), "a message")
		h.Must(c.Args("delete", "--force")...)
		expectReceiversEnd(t, h)
	})
}

func TestHostNameOfProcess(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", hold)
	c.Config["hostname"] = "Inner-7"
	c.Write()
	c.Create()
	c.Start()
	_, pid := c.State()
	h.Must(hookOn(), "repair", "--pid", strconv.Itoa(pid), "--name", "c1")
	sendAsLogger(t, c.Rootfs, "INNER-7", "another")
	wantText(t, c.Log(), "another")
	h.Must(c.Args("delete", "--force")...)
	expectReceiversEnd(t, h)
}

// podman calls the container's host by the beginning of its ID, and logger(1) writes that.
func TestHostNamePodman(t *testing.T) {
	needContainers(t, "runc", "podman", "logger")
	h := NewHost(t)
	rootfs, id := filepath.Join(t.TempDir(), "rootfs"), filepath.Join(t.TempDir(), "id")
	newRootfs(t, rootfs)
	const script = "until readlink /dev/log >/dev/null; do sleep 0.01; done; /usr/bin/logger --rfc3164 -u /dev/log -t web from-logger"
	if r := h.Do(podman(t, "runc", rootfs, hooksD(t, []string{"createRuntime", "poststop"}), script, "--cidfile", id)...); r.Code != 0 {
		t.Fatalf("podman run: %+v", r)
	}
	name, err := os.ReadFile(id)
	check(t, err)
	log := h.Path("/var/log/devlog/" + string(name) + "/messages")
	wantOnce(t, log, "from-logger")
	text, err := os.ReadFile(log)
	check(t, err)
	if !strings.Contains(string(text), " "+string(name)+" web: from-logger\n") {
		t.Errorf("%q", text)
	}
	expectReceiversEnd(t, h)
}
