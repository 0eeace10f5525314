package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the harness promises to the tests, without the programs under test.

// listen binds a datagram socket and returns a reader of what it receives.
func listen(t *testing.T, path string) (receive func() string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Close(fd)) })
	check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	check(t, os.Chmod(path, 0o666))
	return func() string {
		t.Helper()
		buf := make([]byte, 1<<16)
		var n int
		eventually(t, "a message at "+path, func() bool {
			var err error
			n, _, err = unix.Recvfrom(fd, buf, 0)
			return err == nil
		})
		return string(buf[:n])
	}
}

func TestHarnessHost(t *testing.T) {
	need(t, "root")
	h := NewHost(t)
	if r := h.Do("sh", "-c", "test -c /dev/null && test ! -e /dev/log && ls /run /var/log && exit 7"); r.Code != 7 {
		t.Errorf("a fresh host: %+v", r)
	}
	h.Must("touch", "/run/mark")
	if _, err := os.Stat(h.Path("/run/mark")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/run/mark"); err == nil {
		t.Error("/run of the fake host is the machine's")
	}
	if got := h.Processes(); len(got) != 0 {
		t.Errorf("processes of a fresh host: %q", got)
	}
}

func TestHarnessOCI(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			needContainers(t, runtime)
			h := NewHost(t)
			receive := listen(t, h.Path("/dev/log"))
			c := NewOCI(t, h, runtime, "self", threeClients("x")+hold+"exit 5").Write()
			c.Create()
			c.Start()
			for _, want := range threeTexts("x") {
				if got := receive(); !strings.HasSuffix(got, ": "+want) {
					t.Errorf("received %q, want %q", got, want)
				}
			}
			if r := c.Exec("cat", "/proc/1/comm"); r.Code != 0 || r.Out != "sh\n" {
				t.Errorf("exec: %+v", r)
			}
			release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
		})
	}
}

func TestHarnessLXC(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	receive := listen(t, h.Path("/dev/log"))
	c := newLXC(t, h, "self")
	if r := c.Execute(threeClients("x") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	c.Start(threeClients("y") + hold)
	for _, want := range append(threeTexts("x"), threeTexts("y")...) {
		if got := receive(); !strings.HasSuffix(got, ": "+want) {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	if r := c.Attach("/bin/ls", "/opt/devlog"); r.Code != 0 || r.Out != "devlog-hook\ndevlogd\n" {
		t.Errorf("lxc-attach: %+v", r)
	}
	release(t, c.Rootfs)
	c.WaitStopped()
	if _, err := os.Stat(filepath.Join(c.Rootfs, "bin/client")); err != nil {
		t.Error(err)
	}
}
