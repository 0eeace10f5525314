package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A container that puts its own socket in the place of a prepared host's daemon's
// does not keep it: check says so, undo gives it nothing, and a restart of the
// daemon puts the host right.
func TestHostTaken(t *testing.T) {
	needContainers(t)
	for _, end := range []string{"undo", "restart"} {
		t.Run(end, func(t *testing.T) {
			h := NewHost(t)
			liveSocket(t, h)
			h.Must(hookOn(), "repair", "--host")
			c := NewCheap(t, h, "evil", cheapOptions{})
			check(t, os.Remove(h.Path("/dev/.devlog-host")))
			if r := h.Do(hookOn(), "check", "--host"); r.Code != 1 || !strings.Contains(r.Out, "repair    symlink: make /run/devlog/log a link to /dev/.devlog-host on the host") {
				t.Errorf("check, removed: %+v", r)
			}
			c.Sh("/opt/devlog/devlogd --listen /dev/.devlog-host --rule '*.* /stolen' </dev/null >/dev/null 2>&1 &")
			eventually(t, "the container listens", func() bool { return canConnect(h.Path("/dev/.devlog-host")) })
			if r := h.Do(hookOn(), "check", "--host"); r.Code != 3 || strings.Contains(r.Out, "works") || !strings.Contains(r.Out, "has replaced the host's socket") {
				t.Errorf("check, replaced: %+v", r)
			}
			if end == "undo" {
				h.Must(hookOn(), "undo", "--host")
				if canConnect(h.Path("/dev/log")) {
					t.Error("the container's socket is /dev/log")
				}
				return
			}
			check(t, os.Remove(h.Path("/dev/log")))
			receive := listenOn(t, h, "/dev/log")
			h.Must(hookOn(), "repair", "--host")
			if r := h.Do(hookOn(), "check", "--host"); r.Code == 3 || !strings.Contains(r.Out, "works") {
				t.Errorf("check, after the restart: %+v", r)
			}
			h.Must(client, "host", "13", "to-the-host")
			if got := receive(); !strings.HasSuffix(got, ": to-the-host") {
				t.Errorf("received %q", got)
			}
		})
	}
}

// A container's root removes the name by which the host's daemon is reached, or puts
// something else there, over which the daemon does not start: repair --host clears
// the way, and says that the daemon is to be restarted.
func TestHostNameTaken(t *testing.T) {
	needContainers(t)
	needDaemons(t)
	for what, put := range map[string]string{
		"nothing":         ":",
		"directory":       "busybox mkdir /dev/.devlog-host; >/dev/.devlog-host/x",
		"empty directory": "busybox mkdir /dev/.devlog-host",
		"file":            "echo x >/dev/.devlog-host",
		"FIFO":            "busybox mkfifo /dev/.devlog-host",
		"link":            "busybox ln -s /dev/none /dev/.devlog-host",
		"link to a file":  "busybox ln -s /etc/passwd /dev/.devlog-host",
	} {
		for _, k := range daemonKinds {
			t.Run(what+"/"+k.String(), func(t *testing.T) {
				t.Parallel()
				h := NewHost(t)
				d := NewDaemon(t, h, k, "/dev/log")
				d.Start()
				h.Must(hookOn(), "repair", "--host")
				c := NewCheap(t, h, "evil", cheapOptions{})
				c.Sh("busybox rm /dev/.devlog-host; " + put)
				if r := h.Do(hookOn(), "check", "--host"); r.Code != 1 {
					t.Errorf("check: %+v", r)
				}
				r := h.Must(hookOn(), "repair", "--host")
				if !strings.Contains(r.Out+r.ErrOut, "now restart the host's syslog daemon") {
					t.Errorf("repair: %+v", r)
				}
				d.Stop()
				d.Start()
				c.Sh("busybox rm -rf /dev/.devlog-host; " + put) // again, while the daemon has /dev/log
				h.Must(hookOn(), "repair", "--host")
				if r := h.Do(hookOn(), "check", "--host"); !strings.Contains(r.Out, "syslog()  works\n") {
					t.Errorf("check, after the restart: %+v", r)
				}
				h.Must(client, "host", "13", "to-the-host")
				wantOnce(t, d.Log, "to-the-host")
			})
		}
	}
}

// The watcher of a prepared host sees at once that a container removes the name of the
// host's socket or puts its own there, and says in the kernel's log, which no container
// gets, what to do. A restart of the host's daemon is no such thing.
func TestHostTakenWatched(t *testing.T) {
	needContainers(t)
	needDaemons(t)
	for what, tt := range map[string]struct{ do, said string }{
		"removed": {"busybox rm /dev/.devlog-host", "somebody removed /dev/.devlog-host, the host's socket: restart the host's syslog daemon"},
		"replaced": {"/opt/devlog/devlogd --listen /dev/new --rule '*.* /stolen' </dev/null >/dev/null 2>&1 & until test -S /dev/new; do busybox sleep 0.01; done; busybox mv /dev/new /dev/.devlog-host",
			"/dev/.devlog-host, the host's socket"},
	} {
		for _, k := range daemonKinds {
			t.Run(what+"/"+k.String(), func(t *testing.T) {
				t.Parallel()
				h := NewHost(t)
				d := NewDaemon(t, h, k, "/dev/log")
				d.Start()
				name := fmt.Sprintf("watched-%d", time.Now().UnixNano())
				since := kernelLog(t)
				h.Must(hookOn(), "repair", "--host", "--keep", "--name", name)
				said := func(text string) func() bool {
					return func() bool {
						return slices.ContainsFunc(since(), func(line string) bool { return strings.Contains(line, name) && strings.Contains(line, text) })
					}
				}
				h.Must(client, "host", "13", "before")
				c := NewCheap(t, h, "evil", cheapOptions{})
				d.Stop()
				d.Start()
				eventually(t, "the restarted daemon's socket is kept", func() bool {
					to, err := os.Readlink(h.Path("/dev/log"))
					return err == nil && to == "/run/devlog/log" && h.Do(client, "host", "13", "restarted").Code == 0
				})
				if said("/dev/.devlog-host")() {
					t.Errorf("a restart of the daemon is taken for an attack: %q", since())
				}
				c.Sh(tt.do)
				eventually(t, tt.said, said(tt.said))
				d.Stop()
				c.Sh("busybox rm -f /dev/.devlog-host")
				h.Must(hookOn(), "repair", "--host")
				d.Start()
				eventually(t, "the host logs again", func() bool {
					h.Do(client, "host", "13", "to-the-host")
					text, err := os.ReadFile(d.Log)
					return err == nil && strings.Contains(string(text), "to-the-host")
				})
				h.Must(hookOn(), "undo", "--host")
			})
		}
	}
}

// kernelLog returns what the kernel's log gets from now on.
func kernelLog(t *testing.T) func() (lines []string) {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	check(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Seek(0, io.SeekEnd)
	check(t, err)
	var lines []string
	buf := make([]byte, 8<<10)
	return func() []string {
		for {
			n, err := unix.Read(int(f.Fd()), buf)
			if errors.Is(err, unix.EPIPE) { // records were overwritten
				continue
			}
			if err != nil {
				return lines
			}
			lines = append(lines, string(buf[:n]))
		}
	}
}
