package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bootSystemd makes systemd the container's init, as Debian has it: it runs the
// script when the system is up.
func bootSystemd(t *testing.T, c *LXC, script string) {
	t.Helper()
	tree := unpacked("systemd")
	for _, dir := range []string{"bin", "etc", "lib", "lib64", "sbin", "usr/lib", "var"} {
		to := filepath.Join(c.Rootfs, dir)
		check(t, os.MkdirAll(to, 0o755))
		// A link of busybox' is not to be written through.
		check(t, command("cp", "-a", "--remove-destination", filepath.Join(tree, dir)+"/.", to))
	}
	units := filepath.Join(c.Rootfs, "etc/systemd/system")
	wants := filepath.Join(units, "multi-user.target.wants")
	check(t, os.MkdirAll(wants, 0o755))
	for _, name := range []string{"systemd-sysctl.service", "systemd-modules-load.service", "modprobe@.service"} { // the machine's kernel is not the container's
		check(t, os.Symlink("/dev/null", filepath.Join(units, name)))
	}
	check(t, os.Symlink("/lib/systemd/system/multi-user.target", filepath.Join(units, "default.target")))
	check(t, os.WriteFile(filepath.Join(units, "script.service"), []byte("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /etc/script\n"), 0o644))
	// Without one it would be the first boot, and somebody be asked.
	check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o444))
	check(t, os.Symlink("../script.service", filepath.Join(wants, "script.service")))
	check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc/script"), []byte("export PATH=/bin:/usr/bin\n"+script), 0o644))
	if r := c.h.Do(c.Args("lxc-start", "-d", "--", "/lib/systemd/systemd")...); r.Code != 0 {
		text, _ := os.ReadFile(filepath.Join(c.path, "log"))
		t.Fatalf("lxc-start: %+v\n%s", r, text)
	}
}

// endSystemd has systemd power the container off.
func endSystemd(t *testing.T, c *LXC) {
	t.Helper()
	if r := c.Attach("/bin/systemctl", "--force", "--force", "poweroff"); r.Code != 0 {
		t.Errorf("poweroff: %+v", r)
	}
	c.WaitStopped()
	expectReceiversEnd(t, c.h)
}

// systemd is a container's init. Where /run is mounted for it already, no
// message is lost; else it mounts a file system over the private socket, and the
// receiver listens anew in there.
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
			needContainers(t, "lxc")
			need(t, "systemd")
			h := NewHost(t)
			lines := append([]string{"lxc.mount.auto = cgroup:mixed sys:mixed"}, tt.lines...)
			c := newLXC(t, h, "c1", append(lines, "lxc.hook.start = /opt/devlog/devlog-hook")...)
			log := c.Log()
			if tt.onHost {
				c = newLXC(t, h, "c1", append(lines, lxcOnHost(1, "")...)...)
				log = h.Path("/var/log/devlog/c1/messages")
			}
			bootSystemd(t, c, tt.wait+threeClients("boot"))
			wantOnce(t, log, threeTexts("boot")...)
			if n := len(h.Receivers()); n != 1 {
				t.Errorf("%d receivers", n)
			}
			endSystemd(t, c)
		})
	}
}

// On a host where /dev/log points to the journal's socket, the container's own
// journal gets what is logged there, and not the host's.
func TestLXCSystemdJournal(t *testing.T) {
	needContainers(t, "lxc")
	need(t, "systemd")
	h := NewHost(t)
	journal(t, h)
	c := NewLXC(t, h, "c1", "lxc.mount.auto = cgroup:mixed sys:mixed")
	bootSystemd(t, c, "until [ -S /run/systemd/journal/dev-log ]; do sleep 0.01; done\n"+threeClients("boot"))
	var said string
	eventually(t, "the container's journal has the messages", func() bool {
		said = c.Attach("/bin/journalctl", "--no-pager", "--output", "cat", "--facility", "user").Out
		for _, text := range threeTexts("boot") {
			if strings.Count(said, text) != 1 {
				return false
			}
		}
		return true
	})
	endSystemd(t, c)
}

// Whatever is mounted over the private socket's directory, also long after the
// start, the receiver listens anew where it is looked for.
func TestMountedOver(t *testing.T) {
	for _, onHost := range []bool{false, true} {
		t.Run(fmt.Sprint(onHost), func(t *testing.T) {
			needContainers(t, "lxc")
			h := NewHost(t)
			c := NewLXC(t, h, "c1")
			log := c.Log()
			if onHost {
				c = newLXC(t, h, "c1", lxcOnHost(1, "")...)
				log = h.Path("/var/log/devlog/c1/messages")
			}
			c.Start(threeClients("before") + hold)
			wantOnce(t, log, threeTexts("before")...)
			eventually(t, "the receiver watches", func() bool { return watching(h) })
			// What watches by the clock alone has looked by then.
			for _, who := range []string{"first", "second"} {
				if r := c.Attach("/bin/sh", "-c", "mount -t tmpfs tmpfs /run && until [ -S /run/devlog/log ]; do sleep 0.01; done\n"+threeClients(who)); r.Code != 0 {
					t.Fatalf("%s: %+v", who, r)
				}
				wantOnce(t, log, threeTexts(who)...)
			}
			release(t, c.Rootfs)
			c.WaitStopped()
			expectReceiversEnd(t, h)
		})
	}
}

// watching says whether a receiver of the host's has an inotify(7) instance.
func watching(h *Host) bool {
	for _, pid := range h.Receivers() {
		fds, _ := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fd/*", pid))) //nolint:errcheck // the pattern is none of a user's
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil && to == "anon_inode:inotify" {
				return true
			}
		}
	}
	return false
}
