package test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The service directories for s6 and runit, as they are printed: the receiver is
// started anew when it was killed, and until then who sends is told.
func TestSupervisors(t *testing.T) {
	tree := unpacked("supervisors")
	libs, err := filepath.Glob(filepath.Join(tree, "usr/lib/*-linux-gnu"))
	check(t, err)
	for kind, program := range map[string]string{"s6": "s6-supervise", "runit": "runsv"} {
		t.Run(kind, func(t *testing.T) {
			need(t, "root", kind, "busybox")
			h := NewHost(t)
			install(t, h)
			const service = "/run/service"
			h.Must("mkdir", service)
			h.Must(filepath.Join(installDir, "devlog-hook"), "config", kind, "--dir", service)
			h.Must("mv", service+"/devlog."+kind, service+"/run")
			overlay(h, "/etc")
			h.Must("mkdir", "-p", "/etc/default")
			check(t, os.WriteFile(h.Path("/etc/default/devlog"), []byte("DEVLOG_RULE='*.* /run/messages'\n"), 0o644))
			if kind == "s6" {
				check(t, os.WriteFile(h.Path(service+"/notification-fd"), []byte("3\n"), 0o644))
			}
			env := []string{"/usr/bin/env", "PATH=" + filepath.Join(tree, "usr/bin") + ":/usr/bin:/bin", "LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
			cmd := h.Command(context.Background(), append(env, program, service)...) // it is ended below
			check(t, cmd.Start())
			if kind == "s6" {
				eventually(t, "s6 knows that the receiver is ready", func() bool {
					return h.Do(append(env, "s6-svstat", "-o", "ready", service)...).Out == "true\n"
				})
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			check(t, err)
			t.Cleanup(func() { check(t, unix.Close(fd)) })
			dir, err := os.Open(h.Path("/run"))
			check(t, err)
			t.Cleanup(func() { check(t, dir.Close()) })
			at := &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/devlog/log"}
			eventually(t, "the receiver listens", func() bool { return unix.Connect(fd, at) == nil })
			check(t, send(fd, "<14>test: one"))
			wantOnce(t, h.Path("/run/messages"), "one")
			killed := h.Receivers()[0]
			h.Must("kill", "-9", strconv.Itoa(killed))
			eventually(t, "another receiver runs", func() bool {
				all := h.Receivers()
				return len(all) == 1 && all[0] != killed
			})
			eventually(t, "another receiver listens", func() bool { return unix.Connect(fd, at) == nil && send(fd, "<14>test: two") == nil })
			wantOnce(t, h.Path("/run/messages"), "two")
			stop := []string{"sv", "-w", "20", "exit", service}
			if kind == "s6" {
				stop = []string{"s6-svc", "-xd", service}
			}
			h.Must(append(env, stop...)...)
			check(t, cmd.Wait())
			if _, err := os.Lstat(h.Path("/run/devlog/log")); err == nil {
				t.Error("the socket is left")
			}
		})
	}
}
