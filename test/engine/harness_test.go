package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

func TestHarnessHost(t *testing.T) {
	host.Need(t, "root")
	h := host.NewHost(t)
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
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			receive := host.Listen(t, h.Path("/dev/log"))
			c := host.NewOCI(t, h, runtime, "self", host.ThreeClients("x")+host.Hold+"exit 5").Write()
			c.Create()
			c.Start()
			for _, want := range host.ThreeTexts("x") {
				if got := receive(); !strings.HasSuffix(got, ": "+want) {
					t.Errorf("received %q, want %q", got, want)
				}
			}
			if r := c.Exec("cat", "/proc/1/comm"); r.Code != 0 || r.Out != "sh\n" {
				t.Errorf("exec: %+v", r)
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
		})
	}
}

func TestHarnessLXC(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	receive := host.Listen(t, h.Path("/dev/log"))
	c := host.BareLXC(t, h, "self")
	if r := c.Execute(host.ThreeClients("x") + "exit 5"); r.Code != 5 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	c.Start(host.ThreeClients("y") + host.Hold)
	for _, want := range append(host.ThreeTexts("x"), host.ThreeTexts("y")...) {
		if got := receive(); !strings.HasSuffix(got, ": "+want) {
			t.Errorf("received %q, want %q", got, want)
		}
	}
	if r := c.Attach("/bin/ls", "/opt/devlog"); r.Code != 0 || r.Out != "devlog-hook\ndevlog-runtime\ndevlogd\n" {
		t.Errorf("lxc-attach: %+v", r)
	}
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	if _, err := os.Stat(filepath.Join(c.Rootfs, "bin/client")); err != nil {
		t.Error(err)
	}
}
