package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// systemd is a container's init. If /run is mounted already, no message is lost. Otherwise systemd
// mounts a file system over the private socket, and the receiver listens again in there.
func TestLXCSystemd(t *testing.T) {
	for _, tt := range []struct {
		name, wait string
		onHost     bool
		lines      []string
	}{
		{name: "run is mounted", lines: []string{"lxc.mount.entry = tmpfs run tmpfs rw,mode=755 0 0"}},
		{name: "run is a directory", wait: "until [ -S /run/devlog/log ]; do sleep 0.01; done\n"},
		{name: "the receiver is on the host", wait: "until [ -S /run/devlog/log ]; do sleep 0.01; done\n", onHost: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			host.Need(t, "systemd")
			h := host.NewHost(t)
			lines := append([]string{"lxc.mount.auto = cgroup:mixed sys:mixed"}, tt.lines...)
			c := host.BareLXC(t, h, "c1", append(lines, "lxc.hook.start = /opt/devlog/devlog-hook")...)
			log := c.Log()
			if tt.onHost {
				c = host.BareLXC(t, h, "c1", append(lines, lxcOnHost(1, "")...)...)
				log = h.Path("/var/log/devlog/c1/messages")
			}
			host.BootSystemd(t, c, tt.wait+host.ThreeClients("boot"))
			host.WantOnce(t, log, host.ThreeTexts("boot")...)
			if n := len(h.Receivers()); n != 1 {
				t.Errorf("%d receivers", n)
			}
			host.EndSystemd(t, c)
		})
	}
}

// On a host where /dev/log points to the journal's socket, the container's own
// journal gets what is logged there, and not the host's.
func TestLXCSystemdJournal(t *testing.T) {
	host.NeedContainers(t, "lxc")
	host.Need(t, "systemd")
	h := host.NewHost(t)
	host.Journal(t, h)
	c := host.NewLXC(t, h, "c1", "lxc.mount.auto = cgroup:mixed sys:mixed")
	host.BootSystemd(t, c, "until [ -S /run/systemd/journal/dev-log ]; do sleep 0.01; done\n"+host.ThreeClients("boot"))
	var said string
	host.Eventually(t, "the container's journal has the messages", func() bool {
		said = c.Attach("/bin/journalctl", "--no-pager", "--output", "cat", "--facility", "user").Out
		for _, text := range host.ThreeTexts("boot") {
			if strings.Count(said, text) != 1 {
				return false
			}
		}
		return true
	})
	host.EndSystemd(t, c)
}

// If something is mounted over the private socket's directory, also long after the start, the
// receiver listens again at the visible path.
func TestMountedOver(t *testing.T) {
	for _, onHost := range []bool{false, true} {
		t.Run(fmt.Sprint(onHost), func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			h := host.NewHost(t)
			c := host.NewLXC(t, h, "c1")
			log := c.Log()
			if onHost {
				c = host.BareLXC(t, h, "c1", lxcOnHost(1, "")...)
				log = h.Path("/var/log/devlog/c1/messages")
			}
			c.Start(host.ThreeClients("before") + host.Hold)
			host.WantOnce(t, log, host.ThreeTexts("before")...)
			host.Eventually(t, "the receiver watches", func() bool { return watching(h) })
			// A watcher that polls has looked by then.
			for _, who := range []string{"first", "second"} {
				if r := c.Attach("/bin/sh", "-c", "mount -t tmpfs tmpfs /run && until [ -S /run/devlog/log ]; do sleep 0.01; done\n"+host.ThreeClients(who)); r.Code != 0 {
					t.Fatalf("%s: %+v", who, r)
				}
				host.WantOnce(t, log, host.ThreeTexts(who)...)
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
		})
	}
}

// watching returns whether a receiver of the host's has an inotify(7) instance.
func watching(h *host.Host) bool {
	for _, pid := range h.Receivers() {
		fds, _ := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fd/*", pid))) //nolint:errcheck // the pattern is valid
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == "anon_inode:inotify" {
				return true
			}
		}
	}
	return false
}
