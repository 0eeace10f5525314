package engine

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

	"devlog/test/host"
)

// A container replaces the socket of a prepared host's daemon by its own. check reports that,
// undo does not give it /dev/log, and a restart of the daemon restores the host.
func TestHostTaken(t *testing.T) {
	host.NeedContainers(t)
	for _, end := range []string{"undo", "restart"} {
		t.Run(end, func(t *testing.T) {
			h := host.NewHost(t)
			host.LiveSocket(t, h)
			h.Must(host.HookOn(), "repair", "--host")
			c := host.NewCheap(t, h, "evil", host.CheapOptions{})
			host.Check(t, os.Remove(h.Path("/dev/.devlog-host")))
			if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 1 || !strings.Contains(r.Out, "repair    symlink: make /run/devlog/log a link to /dev/.devlog-host on the host") {
				t.Errorf("check, removed: %+v", r)
			}
			c.Sh("/opt/devlog/devlogd --listen /dev/.devlog-host --rule '*.* /stolen' </dev/null >/dev/null 2>&1 &")
			host.Eventually(t, "the container listens", func() bool { return host.CanConnect(h.Path("/dev/.devlog-host")) })
			if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 3 || strings.Contains(r.Out, "works") || !strings.Contains(r.Out, "has replaced the host's socket") {
				t.Errorf("check, replaced: %+v", r)
			}
			if end == "undo" {
				h.Must(host.HookOn(), "undo", "--host")
				if host.CanConnect(h.Path("/dev/log")) {
					t.Error("the container's socket is /dev/log")
				}
				return
			}
			host.Check(t, os.Remove(h.Path("/dev/log")))
			receive := host.ListenOn(t, h, "/dev/log")
			h.Must(host.HookOn(), "repair", "--host")
			if r := h.Do(host.HookOn(), "check", "--host"); r.Code == 3 || !strings.Contains(r.Out, "works") {
				t.Errorf("check, after the restart: %+v", r)
			}
			h.Must(host.Client, "host", "13", "to-the-host")
			if got := receive(); !strings.HasSuffix(got, ": to-the-host") {
				t.Errorf("received %q", got)
			}
		})
	}
}

// A container's root removes the name of the host daemon's socket, or puts something there over
// which the daemon does not start. repair --host removes that, and says that the daemon must be
// restarted.
func TestHostNameTaken(t *testing.T) {
	host.NeedContainers(t)
	host.NeedDaemons(t)
	for what, put := range map[string]string{
		"nothing":         ":",
		"directory":       "busybox mkdir /dev/.devlog-host; >/dev/.devlog-host/x",
		"empty directory": "busybox mkdir /dev/.devlog-host",
		"file":            "echo x >/dev/.devlog-host",
		"FIFO":            "busybox mkfifo /dev/.devlog-host",
		"link":            "busybox ln -s /dev/none /dev/.devlog-host",
		"link to a file":  "busybox ln -s /etc/passwd /dev/.devlog-host",
	} {
		for _, k := range host.DaemonKinds {
			t.Run(what+"/"+k.String(), func(t *testing.T) {
				t.Parallel()
				h := host.NewHost(t)
				d := host.NewDaemon(t, h, k, "/dev/log")
				d.Start()
				h.Must(host.HookOn(), "repair", "--host")
				c := host.NewCheap(t, h, "evil", host.CheapOptions{})
				c.Sh("busybox rm /dev/.devlog-host; " + put)
				if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 1 {
					t.Errorf("check: %+v", r)
				}
				r := h.Must(host.HookOn(), "repair", "--host")
				if !strings.Contains(r.Out+r.ErrOut, "now restart the host's syslog daemon") {
					t.Errorf("repair: %+v", r)
				}
				d.Stop()
				d.Start()
				c.Sh("busybox rm -rf /dev/.devlog-host; " + put) // again, while the daemon has /dev/log
				h.Must(host.HookOn(), "repair", "--host")
				if r := h.Do(host.HookOn(), "check", "--host"); !strings.Contains(r.Out, "syslog()  works\n") {
					t.Errorf("check, after the restart: %+v", r)
				}
				h.Must(host.Client, "host", "13", "to-the-host")
				host.WantOnce(t, d.Log, "to-the-host")
			})
		}
	}
}

// The watcher of a prepared host notices at once that a container removes or replaces the
// host's socket, and reports in the kernel's log, which no container gets, what to do. It does
// not report a restart of the host's daemon.
func TestHostTakenWatched(t *testing.T) {
	host.NeedContainers(t)
	host.NeedDaemons(t)
	for what, tt := range map[string]struct{ do, said string }{
		"removed": {"busybox rm /dev/.devlog-host", "somebody removed /dev/.devlog-host, the host's socket; hint: restart the host's syslog daemon"},
		"replaced": {"/opt/devlog/devlogd --listen /dev/new --rule '*.* /stolen' </dev/null >/dev/null 2>&1 & until test -S /dev/new; do busybox sleep 0.01; done; busybox mv /dev/new /dev/.devlog-host",
			"somebody replaced /dev/.devlog-host, the host's socket; hint: "},
	} {
		for _, k := range host.DaemonKinds {
			t.Run(what+"/"+k.String(), func(t *testing.T) {
				t.Parallel()
				h := host.NewHost(t)
				d := host.NewDaemon(t, h, k, "/dev/log")
				d.Start()
				name := fmt.Sprintf("watched-%d", time.Now().UnixNano())
				since := kernelLog(t)
				h.Must(host.HookOn(), "repair", "--host", "--keep", "--name", name)
				said := func(text string) func() bool {
					return func() bool {
						return slices.ContainsFunc(since(), func(line string) bool { return strings.Contains(line, name) && strings.Contains(line, text) })
					}
				}
				h.Must(host.Client, "host", "13", "before")
				c := host.NewCheap(t, h, "evil", host.CheapOptions{})
				d.Stop()
				d.Start()
				host.Eventually(t, "the restarted daemon's socket is kept", func() bool {
					to, err := os.Readlink(h.Path("/dev/log"))
					return err == nil && to == "/run/devlog/log" && h.Do(host.Client, "host", "13", "restarted").Code == 0
				})
				if said("/dev/.devlog-host")() {
					t.Errorf("a restart of the daemon is taken for an attack: %q", since())
				}
				expectCalm(t, h, h.Receivers()) // a change during a repair counts as its own
				c.Sh(tt.do)
				host.Eventually(t, tt.said, said(tt.said))
				d.Stop()
				c.Sh("busybox rm -f /dev/.devlog-host")
				h.Must(host.HookOn(), "repair", "--host")
				d.Start()
				host.Eventually(t, "the host logs again", func() bool {
					h.Do(host.Client, "host", "13", "to-the-host")
					text, err := os.ReadFile(d.Log)
					return err == nil && strings.Contains(string(text), "to-the-host")
				})
				h.Must(host.HookOn(), "undo", "--host")
			})
		}
	}
}

// kernelLog returns a function that returns the new records of the kernel's log.
func kernelLog(t *testing.T) func() (lines []string) {
	t.Helper()
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	host.Check(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Seek(0, io.SeekEnd)
	host.Check(t, err)
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
