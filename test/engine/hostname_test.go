package engine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// sendAsLogger sends what logger(1) writes in a container with that host name.
func sendAsLogger(t *testing.T, rootfs, hostname, text string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	defer unix.Close(fd)
	path := filepath.Join(t.TempDir(), "root") // a socket's path must be short
	host.Check(t, os.Symlink(rootfs, path))
	host.Check(t, unix.Connect(fd, &unix.SockaddrUnix{Name: path + "/run/devlog/log"}))
	host.Check(t, host.Send(fd, "<13>Nov 27 19:41:42 "+hostname+" web: "+text))
}

// wantText waits for the only line with the text, which must have one host name and the tag.
func wantText(t *testing.T, log, text string) {
	t.Helper()
	host.WantOnce(t, log, text)
	data, err := os.ReadFile(log)
	host.Check(t, err)
	if !strings.Contains(string(data), " c1 web: "+text+"\n") {
		t.Errorf("%q", data)
	}
}

// The container's own host name, which is not the receiver's name for it, is left out of
// messages. A hook finds it in config.json, repair in the UTS namespace.
func TestContainersHostName(t *testing.T) {
	host.EachOCI(t, func(t *testing.T, h *host.Host, runtime, stage string) {
		c := host.NewOCI(t, h, runtime, "c1", host.Hold)
		c.Config["hostname"] = "Inner-7.example"
		c.Hook(stage, "--rule", "*.* -/var/log/devlog/c1/messages", "--rule", "!web *.* -/var/log/devlog/c1/web")
		c.Write()
		c.Create()
		sendAsLogger(t, c.Rootfs, "inner-7", "a message")
		wantText(t, c.Log(), "a message")
		wantText(t, h.Path("/var/log/devlog/c1/web"), "a message")
		h.Must(c.Args("delete", "--force")...)
		host.ExpectReceiversEnd(t, h)
	})
}

func TestHostNameOfProcess(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", host.Hold)
	c.Config["hostname"] = "Inner-7"
	c.Write()
	c.Create()
	c.Start()
	_, pid := c.State()
	h.Must(host.HookOn(), "repair", "--pid", strconv.Itoa(pid), "--name", "c1")
	sendAsLogger(t, c.Rootfs, "INNER-7", "another")
	wantText(t, c.Log(), "another")
	h.Must(c.Args("delete", "--force")...)
	host.ExpectReceiversEnd(t, h)
}

// podman calls the container's host by the beginning of its ID, and logger(1) writes that.
func TestHostNamePodman(t *testing.T) {
	host.NeedContainers(t, "runc", "podman", "logger")
	h := host.NewHost(t)
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	host.NewRootfs(t, rootfs)
	const script = "until readlink /dev/log >/dev/null; do sleep 0.01; done; /usr/bin/logger --rfc3164 -u /dev/log -t web from-logger"
	if r := h.Do(host.Podman(t, h, "runc", rootfs, host.HooksD(t, []string{"createRuntime", "poststop"}), script)...); r.Code != 0 {
		t.Fatalf("podman run: %+v", r)
	}
	id := host.OnlyLogged(t, h)
	log := h.Path("/var/log/devlog/" + id + "/messages")
	host.WantOnce(t, log, "from-logger")
	text, err := os.ReadFile(log)
	host.Check(t, err)
	if !strings.Contains(string(text), " "+id+" web: from-logger\n") {
		t.Errorf("%q", text)
	}
	host.ExpectReceiversEnd(t, h)
}
