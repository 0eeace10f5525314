package runtimes

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/test/host"
)

// inits are real inits of system containers: how to install one in a root directory, and its
// inittab(5), which runs /etc/boot, and /etc/rest in parallel.
var inits = []struct {
	name, inittab string
	install       func(t *testing.T, rootfs string)
}{
	{"busybox", "::sysinit:/bin/sh /etc/boot\n::once:/bin/sh /etc/rest\n", func(t *testing.T, rootfs string) {
		host.Check(t, os.Symlink("../bin/busybox", filepath.Join(rootfs, "sbin/init")))
	}},
	{"sysvinit", "id:2:initdefault:\nsi::sysinit:/bin/sh /etc/boot\nr:2:once:/bin/sh /etc/rest\n", func(t *testing.T, rootfs string) {
		host.Need(t, "sysvinit")
		host.Check(t, host.CopyProgram(rootfs, "sbin/init", host.Sysvinit()))
	}},
}

// A system container boots a real init: what its first script logs arrives, the
// receiver stays while init reaps and changes its runlevel, and ends with it.
func TestLXCInit(t *testing.T) {
	for _, init := range inits {
		for _, on := range []string{"start", "start-host"} {
			t.Run(init.name+"/"+on, func(t *testing.T) {
				host.NeedContainers(t, "lxc")
				h := host.NewHost(t)
				c := host.NewLXC(t, h, "c1")
				log := c.Log()
				if on == "start-host" {
					c = host.BareLXC(t, h, "c1", lxcOnHost(1, "")...)
					log = h.Path("/var/log/devlog/c1/messages")
				}
				host.Check(t, os.Mkdir(filepath.Join(c.Rootfs, "sbin"), 0o755))
				init.install(t, c.Rootfs)
				// Both run without PATH.
				path := "export PATH=/bin:/usr/bin\n"
				for name, text := range map[string]string{"inittab": init.inittab, "boot": path + host.ThreeClients("boot"),
					"rest": path + host.ThreeClients("rest") + host.Hold + "busybox poweroff -f\n"} {
					host.Check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc", name), []byte(text), 0o644))
				}
				if r := h.Do(c.Args("lxc-start", "-d", "--", "/sbin/init")...); r.Code != 0 {
					text, _ := os.ReadFile(filepath.Join(c.Path, "log"))
					t.Fatalf("lxc-start: %+v\n%s", r, text)
				}
				host.WantOnce(t, log, append(host.ThreeTexts("boot"), host.ThreeTexts("rest")...)...)
				if n := len(h.Receivers()); n != 1 {
					t.Errorf("%d receivers", n)
				}
				if r := c.Attach("/bin/sh", "-c", host.ThreeClients("later")); r.Code != 0 {
					t.Errorf("clients: %+v", r)
				}
				host.WantOnce(t, log, host.ThreeTexts("later")...)
				host.Release(t, c.Rootfs)
				c.WaitStopped()
				host.ExpectReceiversEnd(t, h)
			})
		}
	}
}
