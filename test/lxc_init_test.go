package test

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
)

// sysvinit is the init that deps.sh has unpacked for containers.
func sysvinit() string {
	return unpacked("init/sbin/init")
}

// unpacked is a file of those that deps.sh only unpacks.
func unpacked(file string) string {
	return filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), "/var/cache"), "devlog-test", file)
}

// inits are real inits of system containers: how to put one into a root
// directory, and its inittab(5), which runs /etc/boot, and /etc/rest beside
// what else runs.
var inits = []struct {
	name, inittab string
	install       func(t *testing.T, rootfs string)
}{
	{"busybox", "::sysinit:/bin/sh /etc/boot\n::once:/bin/sh /etc/rest\n", func(t *testing.T, rootfs string) {
		check(t, os.Symlink("../bin/busybox", filepath.Join(rootfs, "sbin/init")))
	}},
	{"sysvinit", "id:2:initdefault:\nsi::sysinit:/bin/sh /etc/boot\nr:2:once:/bin/sh /etc/rest\n", func(t *testing.T, rootfs string) {
		need(t, "sysvinit")
		check(t, copyProgram(rootfs, "sbin/init", sysvinit()))
	}},
}

// A system container boots a real init: what its first script logs arrives, the
// receiver stays while init reaps and changes its runlevel, and ends with it.
func TestLXCInit(t *testing.T) {
	for _, init := range inits {
		for _, on := range []string{"start", "start-host"} {
			t.Run(init.name+"/"+on, func(t *testing.T) {
				needContainers(t, "lxc")
				h := NewHost(t)
				c := NewLXC(t, h, "c1")
				log := c.Log()
				if on == "start-host" {
					c = newLXC(t, h, "c1", lxcOnHost(1, "")...)
					log = h.Path("/var/log/devlog/c1/messages")
				}
				check(t, os.Mkdir(filepath.Join(c.Rootfs, "sbin"), 0o755))
				init.install(t, c.Rootfs)
				// Both run with no PATH of ours.
				path := "export PATH=/bin:/usr/bin\n"
				for name, text := range map[string]string{"inittab": init.inittab, "boot": path + threeClients("boot"),
					"rest": path + threeClients("rest") + hold + "busybox poweroff -f\n"} {
					check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc", name), []byte(text), 0o644))
				}
				if r := h.Do(c.Args("lxc-start", "-d", "--", "/sbin/init")...); r.Code != 0 {
					text, _ := os.ReadFile(filepath.Join(c.path, "log"))
					t.Fatalf("lxc-start: %+v\n%s", r, text)
				}
				wantOnce(t, log, append(threeTexts("boot"), threeTexts("rest")...)...)
				if n := len(h.Receivers()); n != 1 {
					t.Errorf("%d receivers", n)
				}
				if r := c.Attach("/bin/sh", "-c", threeClients("later")); r.Code != 0 {
					t.Errorf("clients: %+v", r)
				}
				wantOnce(t, log, threeTexts("later")...)
				release(t, c.Rootfs)
				c.WaitStopped()
				expectReceiversEnd(t, h)
			})
		}
	}
}
