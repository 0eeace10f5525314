package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// What a repair from the host creates in a container with a user namespace belongs to the
// container's root. /dev belongs to the host's root, and is not changed.
func TestEngineUserNamespaceOCI(t *testing.T) {
	for _, s := range []struct {
		name string
		make func(t *testing.T, h *host.Host)
		made []string
	}{
		{"adopt", host.Journal, []string{"/run/systemd", "/run/systemd/journal", "/run/systemd/journal/dev-log"}},
		{"bind", host.LiveSocket, []string{"/run/devlog", "/run/devlog/log", "/run/devlog/.devlog-link", "/dev/log"}},
	} {
		eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
			s.make(t, h)
			before := host.Tree(h)
			c := host.NewOCI(t, h, runtime, s.name, host.ThreeClients(s.name)+host.Hold)
			c.Mapped()
			c.Hook("createRuntime", "--no-auto-repair", "--listen", "/run/a/b/log", "--journal")
			eachOwn(t, h, c)
			_, pid := c.State()
			further := []string{"/run/a", "/run/a/b", "/run/a/b/log", "/run/systemd/journal/socket", "/run/systemd/journal/stdout"}
			for _, name := range append(further, s.made...) {
				host.OwnedBy(t, h.Path(fmt.Sprintf("/proc/%d/root%s", pid, name)), host.FirstID)
			}
			if r := c.Exec("stat", "-c", "%u", filepath.Dir(s.made[len(s.made)-1])); s.name == "adopt" && r.Out != "0\n" {
				t.Errorf("the owner as seen inside: %+v", r)
			}
			host.End(t, h, c, c.Rootfs)
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before, host.OCILeaves(s.name)[1:]...)
			host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
		})
	}
}

// The start hook of LXC runs as the container's root, and may mount there.
func TestEngineUserNamespaceLXC(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, h *host.Host){"adopt": host.Journal, "bind": host.LiveSocket} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			h := host.NewHost(t)
			make(t, h)
			before := host.Tree(h)
			ids := fmt.Sprintf("0 %d 65536", host.FirstID)
			c := host.NewLXC(t, h, "mapped", "lxc.idmap = u "+ids, "lxc.idmap = g "+ids)
			host.GiveTo(t, c.Rootfs)
			conf, err := os.ReadFile(c.Conf)
			host.Check(t, err)
			// A user namespace may only bind a mount of the host with everything below it.
			conf = bytes.Replace(conf, []byte("/dev dev none rw,bind"), []byte("/dev dev none rw,rbind"), 1)
			host.Check(t, os.WriteFile(c.Conf, conf, 0o644))
			c.Start(host.ThreeClients("mapped") + host.Hold)
			host.WantOnce(t, c.Log(), host.ThreeTexts("mapped")...)
			host.OwnedBy(t, c.Log(), host.FirstID)
			dir := map[string]string{"adopt": "run/systemd/journal", "bind": "run/devlog"}[name]
			host.OwnedBy(t, filepath.Join(c.Rootfs, dir), host.FirstID)
			host.ExpectNew(t, h, before)
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before)
		})
	}
}

// undo ends the receiver of the start hook, although that has more privileges than undo.
func TestEngineUndoLXC(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	c := host.NewLXC(t, h, "c1")
	before := host.Tree(h)
	c.Start("mkfifo /tmp/hold; exec cat /tmp/hold") // the end of the receiver, its child, would interrupt a shell
	if n := len(h.Receivers()); n != 1 {
		t.Fatalf("%d receivers", n)
	}
	if r := c.Attach(host.HookIn, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
		t.Errorf("undo: %+v", r)
	}
	if n := len(h.Receivers()); n != 0 {
		t.Errorf("left running: %q", h.Processes())
	}
	host.ExpectNew(t, h, before, "/dev/log") // others may have mounted over it by now
	host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	host.Release(t, c.Rootfs)
	c.WaitStopped()
}

// A user of the container other than root runs the repair. It works where the user may write,
// and is refused with a reason elsewhere.
func TestEngineUnprivileged(t *testing.T) {
	const user = 1000
	for _, s := range []struct {
		name, to string // to is where /dev/log points; empty for no /dev/log
		code     int
		says     []string
	}{
		{"adopt", "/tmp/own/log", 0, []string{"repaired by adopt"}},
		{"absent", "", 3, []string{"/dev cannot be written", "run this as root"}},
		{"adopt what he may not write", "/run/systemd/journal/dev-log", 3, []string{"/dev cannot be written (permission denied)"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
				if s.to != "" {
					host.Check(t, os.Symlink(s.to, h.Path("/dev/log")))
				}
				c := host.NewOCI(t, h, runtime, "plain", host.Hold)
				c.Config["process"].(map[string]any)["capabilities"] = map[string]any{}
				host.Check(t, os.Chmod(filepath.Join(c.Rootfs, "tmp"), 0o1777))
				own := filepath.Join(c.Rootfs, "tmp/own")
				host.Check(t, os.Mkdir(own, 0o755))
				host.Check(t, os.Chown(own, user, user))
				c.Write().Create()
				c.Start()
				host.Eventually(t, "the container's script waits", func() bool {
					_, err := os.Lstat(filepath.Join(c.Rootfs, "tmp/hold"))
					return err == nil
				})
				exec := func(args ...string) host.Result {
					return h.Do(c.Args("exec", append([]string{"--user", fmt.Sprintf("%d:%[1]d", user), c.ID}, args...)...)...)
				}
				before, files := host.Tree(h), host.Snap(t, c.Rootfs, "/run", "/tmp", "/dev", "/var")
				r := exec(host.HookIn, "repair", "--no-auto-repair", "--rule", "*.* /tmp/own/messages", "--adopt", "/tmp/own/log")
				for _, words := range s.says {
					if !strings.Contains(r.Out+r.ErrOut, words) {
						t.Errorf("%+v, want %q", r, words)
					}
				}
				if r.Code != s.code || strings.Count(r.Out+r.ErrOut, "\n") != 1 {
					t.Errorf("%+v, want exit code %d and one line", r, s.code)
				}
				if s.code == 0 {
					if r := exec("client", "t", "13", "of-a-user"); r.Code != 0 {
						t.Errorf("client: %+v", r)
					}
					host.WantOnce(t, filepath.Join(own, "messages"), "of-a-user")
				} else if after := host.Snap(t, c.Rootfs, "/run", "/tmp", "/dev", "/var"); !slices.Equal(files, after) {
					t.Errorf("the container was\n%q\nand is\n%q", files, after)
				}
				host.ExpectNew(t, h, before)
				host.End(t, h, c, c.Rootfs)
				host.ExpectReceiversEnd(t, h)
			})
		})
	}
}

// A container that runs as a user without capabilities: the hook of an OCI runtime runs on
// the host, and repairs it like any other.
func TestEngineStartedAsUser(t *testing.T) {
	for _, s := range []host.DevLog{{Name: "live", Make: host.LiveSocket, To: "/run/devlog/log", Stays: false}, {Name: "journal", Make: host.Journal, To: "/run/systemd/journal/dev-log", Stays: true},
		{Name: "absent", Make: nothing, To: "/run/devlog/log", Stays: false}} {
		t.Run(s.Name, func(t *testing.T) {
			eachRuntimeOCI(t, func(t *testing.T, h *host.Host, runtime string) {
				s.Make(t, h)
				c := host.NewOCI(t, h, runtime, "user", host.ThreeClients("user")+"readlink /dev/log >/tmp/leads; id -u >/tmp/uid; "+host.Hold)
				dir := holdAt(t, c)
				host.Check(t, os.Chmod(filepath.Join(dir, "tmp"), 0o1777))
				process := c.Config["process"].(map[string]any)
				process["user"], process["capabilities"] = map[string]any{"uid": 1000, "gid": 1000}, map[string]any{}
				process["noNewPrivileges"] = true
				c.Hook("createRuntime")
				c.Write().Create()
				c.Start()
				host.WantOnce(t, c.Log(), host.ThreeTexts("user")...)
				host.WaitHeld(t, dir).Close()
				for name, want := range map[string]string{"leads": s.To + "\n", "uid": "1000\n"} {
					if got, err := os.ReadFile(filepath.Join(dir, "tmp", name)); err != nil || string(got) != want {
						t.Errorf("%s: %q, %v, want %q", name, got, err, want)
					}
				}
				c.WaitStopped()
				h.Must(c.Args("delete")...)
				host.ExpectReceiversEnd(t, h)
			})
		})
	}
}
