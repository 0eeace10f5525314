package runtimes

import (
	"path/filepath"
	"strconv"
	"testing"

	"devlog/test/host"
)

// A container that logs nothing leaves no directory of logs: the hook at poststop removes it,
// and undo does. What was logged stays.
func TestSilentLeavesNoLogs(t *testing.T) {
	hook := filepath.Join(host.BinDir, "devlog-hook")
	for _, way := range []string{"poststop", "undo"} {
		t.Run(way, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			logs := func() []string {
				dirs, err := filepath.Glob(h.Path("/var/log/devlog/[a-z]*"))
				host.Check(t, err)
				return dirs
			}
			for _, silent := range []bool{true, false} {
				c := host.NewOCI(t, h, "runc", "c1", host.Hold)
				c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
				if way == "poststop" {
					c.Hook("createRuntime")
					c.AddHook("poststop")
				}
				c.Write().Create()
				c.Start()
				_, pid := c.State()
				if way == "undo" {
					h.Must(hook, "repair", "--pid", strconv.Itoa(pid))
				}
				if dirs := logs(); len(dirs) != 1 {
					t.Fatalf("directories of logs: %q", dirs)
				}
				if !silent {
					if r := c.Exec("client", "t", "13", "said"); r.Code != 0 {
						t.Errorf("client: %+v", r)
					}
					host.WantOnce(t, logs()[0]+"/messages", "said")
				}
				if way == "undo" {
					h.Must(hook, "undo", "--pid", strconv.Itoa(pid))
				}
				host.Release(t, c.Rootfs)
				c.WaitStopped()
				host.ExpectReceiversEnd(t, h)
				h.Must(c.Args("delete", "--force")...)
				if dirs := logs(); silent != (len(dirs) == 0) {
					t.Errorf("silent %t: %q is left", silent, dirs)
				}
			}
		})
	}
}
