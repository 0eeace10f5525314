package test

import (
	"context"
	"fmt"
	"io"
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
	_, receive = bind(t, path)
	return receive
}

// bind is listen that also returns the socket.
func bind(t *testing.T, path string) (socket *os.File, receive func() string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { check(t, f.Close()) })
	check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	check(t, os.Chmod(path, 0o666))
	return f, func() string {
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

// listenerArg as an argument makes the test binary hold what it inherits until
// its standard input ends.
const listenerArg = "devlog-test-listener"

// listenOn is listen at the host's path for a daemon of the host's own: a
// process there has the socket open too.
func listenOn(t *testing.T, h *Host, path string) (receive func() string) {
	t.Helper()
	socket, receive := bind(t, h.Path(path))
	self, err := os.Executable()
	check(t, err)
	cmd := h.Command(context.Background(), self, listenerArg) // it ends after the test's context: killed, it would hold up the host's end
	cmd.ExtraFiles = []*os.File{socket}
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of the listener: %v", err)
		}
	})
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatalf("start of the listener: %v", err)
	}
	return receive
}

// holdListener is what the process of listenOn does.
func holdListener() error {
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
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
	if r := c.Attach("/bin/ls", "/opt/devlog"); r.Code != 0 || r.Out != "devlog-hook\ndevlog-runtime\ndevlogd\n" {
		t.Errorf("lxc-attach: %+v", r)
	}
	release(t, c.Rootfs)
	c.WaitStopped()
	if _, err := os.Stat(filepath.Join(c.Rootfs, "bin/client")); err != nil {
		t.Error(err)
	}
}
