package runtimes

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// The printed service directories for s6 and runit: the receiver is restarted after a kill, and until
// then senders get an error.
func TestSupervisors(t *testing.T) {
	tree := host.Unpacked("supervisors")
	libs, err := filepath.Glob(filepath.Join(tree, "usr/lib/*-linux-gnu"))
	host.Check(t, err)
	for kind, program := range map[string]string{"s6": "s6-supervise", "runit": "runsv"} {
		t.Run(kind, func(t *testing.T) {
			host.Need(t, "root", kind, "busybox")
			h := host.NewHost(t)
			host.Install(t, h)
			const service = "/run/service"
			h.Must("mkdir", service)
			h.Must(filepath.Join(host.InstallDir, "devlog-hook"), "config", kind, "--dir", service)
			h.Must("mv", service+"/devlog."+kind, service+"/run")
			host.Overlay(h, "/etc")
			h.Must("mkdir", "-p", "/etc/default")
			host.Check(t, os.WriteFile(h.Path("/etc/default/devlog"), []byte("DEVLOG_RULE='*.* /run/messages'\n"), 0o644))
			if kind == "s6" {
				host.Check(t, os.WriteFile(h.Path(service+"/notification-fd"), []byte("3\n"), 0o644))
			}
			env := []string{"/usr/bin/env", "PATH=" + filepath.Join(tree, "usr/bin") + ":/usr/bin:/bin", "LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
			cmd := h.Command(context.Background(), append(env, program, service)...) // it is ended below
			host.Check(t, cmd.Start())
			if kind == "s6" {
				host.Eventually(t, "s6 knows that the receiver is ready", func() bool {
					return h.Do(append(env, "s6-svstat", "-o", "ready", service)...).Out == "true\n"
				})
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			host.Check(t, err)
			t.Cleanup(func() { host.Check(t, unix.Close(fd)) })
			dir, err := os.Open(h.Path("/run"))
			host.Check(t, err)
			t.Cleanup(func() { host.Check(t, dir.Close()) })
			at := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/devlog/log"}
			host.Eventually(t, "the receiver listens", func() bool { return unix.Connect(fd, at) == nil })
			host.Check(t, host.Send(fd, "<14>test: one"))
			host.WantOnce(t, h.Path("/run/messages"), "one")
			killed := h.Receivers()[0]
			h.Must("kill", "-9", strconv.Itoa(killed))
			host.Eventually(t, "another receiver runs", func() bool {
				all := h.Receivers()
				return len(all) == 1 && all[0] != killed
			})
			host.Eventually(t, "another receiver listens", func() bool { return unix.Connect(fd, at) == nil && host.Send(fd, "<14>test: two") == nil })
			host.WantOnce(t, h.Path("/run/messages"), "two")
			stop := []string{"sv", "-w", "20", "exit", service}
			if kind == "s6" {
				stop = []string{"s6-svc", "-xd", service}
			}
			h.Must(append(env, stop...)...)
			host.Check(t, cmd.Wait())
			if _, err := os.Lstat(h.Path("/run/devlog/log")); err == nil {
				t.Error("the socket is left")
			}
		})
	}
}
