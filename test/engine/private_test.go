package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// The private socket must be private: if a container's /run is not its own, the repair
// mounts a tmpfs for the socket.

// eachOwn starts two containers with the hook at the same time, and expects each one's messages
// in its own log.
func eachOwn(t *testing.T, h *host.Host, cs ...*host.OCI) {
	t.Helper()
	for _, c := range cs {
		c.Write().Create()
	}
	for _, c := range cs {
		c.Start()
	}
	for i, c := range cs {
		host.WantOnce(t, c.Log(), host.ThreeTexts(c.ID)...)
		if len(cs) > 1 {
			host.WantNowhere(t, filepath.Dir(c.Log()), host.ThreeTexts(cs[1-i].ID)...)
		}
	}
	if n := len(h.Receivers()); n != len(cs) {
		t.Errorf("%d receivers for %d containers: %q", n, len(cs), h.Processes())
	}
}

// eachRuntimeOCI runs a test with runc and crun.
func eachRuntimeOCI(t *testing.T, test func(t *testing.T, h *host.Host, runtime string)) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			host.NeedContainers(t, runtime)
			test(t, host.NewHost(t), runtime)
		})
	}
}

// holdAt is hold with a FIFO that is not in a root directory that containers
// may share: each has its own /tmp.
func holdAt(t *testing.T, c *host.OCI) (dir string) {
	t.Helper()
	dir = t.TempDir()
	host.Check(t, os.Mkdir(filepath.Join(dir, "tmp"), 0o1777))
	c.Mount("/tmp", "bind", filepath.Join(dir, "tmp"), "bind", "rw")
	return dir
}

// Two containers run from one root directory at the same time.
func TestEngineOneRootfs(t *testing.T) {
	eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
		var cs []*host.OCI
		var dirs []string
		for _, id := range []string{"left", "right"} {
			c := host.NewOCI(t, h, runtime, id, host.ThreeClients(id)+host.Hold)
			dirs = append(dirs, holdAt(t, c))
			c.Hook("createRuntime", "--no-auto-repair")
			cs = append(cs, c)
		}
		cs[1].Config["root"] = map[string]any{"path": cs[0].Rootfs}
		eachOwn(t, h, cs...)
		for i, c := range cs {
			host.End(t, h, c, dirs[i])
		}
		host.ExpectReceiversEnd(t, h)
		host.ExpectEmpty(t, filepath.Join(cs[0].Rootfs, "run"))
	})
}

// A container with the host's /run, on a prepared and an unprepared host.
func TestEngineHostsRun(t *testing.T) {
	eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
		for _, prepared := range []bool{false, true} {
			if prepared {
				h.Must(host.HookOn(), "repair", "--host")
			}
			before := host.Tree(h)
			id := fmt.Sprintf("c-%t", prepared)
			c := host.NewOCI(t, h, runtime, id, host.ThreeClients(id)+host.Hold)
			c.Mount("/run", "bind", "/run", "rbind", "rw")
			c.Hook("createRuntime", "--no-auto-repair")
			eachOwn(t, h, c)
			if to, err := os.Readlink(h.Path("/run/devlog/log")); prepared && (err != nil || to != "/dev/.devlog-host") {
				t.Errorf("the host's link leads to %q, %v", to, err)
			}
			host.End(t, h, c, c.Rootfs)
			host.ExpectReceiversEnd(t, h)
			added := []string{"/var/log/devlog/" + id, "/var/log/devlog/" + id + "/messages"}
			if !prepared {
				added = append(added, "/var/log/devlog", "/run/devlog") // made by the container's repair, and used by the host's
				h.Must(host.HookOn(), "undo", "--host")
			}
			host.ExpectNew(t, h, before, added...)
		}
	})
}

// A root file system without /run, and read-only ones.
func TestEngineRoots(t *testing.T) {
	eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
		for _, tt := range []struct {
			name     string
			readonly bool
			make     func(t *testing.T, c *host.OCI)
		}{
			{"no-run", false, func(t *testing.T, c *host.OCI) { host.Check(t, os.RemoveAll(filepath.Join(c.Rootfs, "run"))) }},
			{"readonly", true, func(*testing.T, *host.OCI) {}},
			{"readonly-run-in-use", true, func(t *testing.T, c *host.OCI) {
				host.Check(t, os.MkdirAll(filepath.Join(c.Rootfs, "run/devlog"), 0o755))
				host.Check(t, os.WriteFile(filepath.Join(c.Rootfs, "run/file"), nil, 0o644))
			}},
		} {
			c := host.NewOCI(t, h, runtime, tt.name, host.ThreeClients(tt.name)+host.Hold)
			dir := holdAt(t, c)
			c.Config["root"].(map[string]any)["readonly"] = tt.readonly
			tt.make(t, c)
			c.Hook("prestart", "--no-auto-repair")
			eachOwn(t, h, c)
			host.End(t, h, c, dir)
			host.ExpectReceiversEnd(t, h)
		}
	})
}

// Where nothing can be created, or mounted without hiding something, a repair is refused with
// the reason.
func TestEngineNoPlace(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{Run: "mount -n -t tmpfs run run; echo >run/file; mount -n -o remount,ro run"})
	before := host.Look(t, h, c)
	for _, inside := range []bool{true, false} {
		expectRefusal(t, c.Hook(inside, "repair", "--no-auto-repair"), 3, "/run/devlog/log cannot be made")
		host.ExpectWorld(t, before, host.Look(t, h, c))
	}
}

// The same where mounts are denied.
func TestEngineNoMount(t *testing.T) {
	eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
		for _, tt := range []struct {
			kind, source string
			options      []string
			says         string
		}{
			{"tmpfs", "tmpfs", []string{"ro"}, "nothing may be mounted here"},
			{"bind", "/run", []string{"bind", "rw"}, "is not the container's own directory"},
		} {
			if tt.kind == "bind" {
				h.Must(host.HookOn(), "repair", "--host")
			}
			before := host.Tree(h)
			c := host.NewOCI(t, h, runtime, tt.kind, host.Hold)
			c.Mount("/run", tt.kind, tt.source, tt.options...)
			c.Write().Create()
			c.Start()
			during := host.Tree(h)
			r := c.Exec(host.HookIn, "repair", "--no-auto-repair", "--strategy", "symlink")
			expectRefusal(t, r, 3, tt.says)
			if !strings.Contains(r.ErrOut, "; hint: mount a tmpfs of the container's own at ") {
				t.Errorf("no advice: %+v", r)
			}
			host.ExpectNew(t, h, during)
			host.End(t, h, c, c.Rootfs)
			host.ExpectNew(t, h, before)
		}
	})
}
