package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// firstID is what the IDs of a container with a user namespace begin with on
// the host.
const firstID = 100000

// giveTo makes a container's root directory its root's, and the way to it
// open.
func giveTo(t *testing.T, rootfs string) {
	t.Helper()
	giveToID(t, rootfs, firstID)
}

// giveToID is giveTo where the container's IDs begin with that one.
func giveToID(t *testing.T, rootfs string, id uint32) {
	t.Helper()
	check(t, command("chown", "-hR", fmt.Sprintf("%d:%[1]d", id), rootfs))
	for dir := filepath.Dir(rootfs); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		check(t, os.Chmod(dir, 0o755))
	}
}

// mapped gives the container a user namespace.
func (c *OCI) mapped() { c.mappedTo(firstID) }

// mappedTo is mapped with other IDs.
func (c *OCI) mappedTo(first uint32) {
	linux := c.Config["linux"].(map[string]any)
	linux["namespaces"] = append(linux["namespaces"].([]any), map[string]any{"type": "user"})
	ids := []any{map[string]any{"containerID": 0, "hostID": first, "size": 65536}}
	linux["uidMappings"], linux["gidMappings"] = ids, ids
	giveToID(c.t, c.Rootfs, first)
}

// ownedBy fails unless the file is the user's; a link is not followed.
func ownedBy(t *testing.T, name string, uid uint32) {
	t.Helper()
	info, err := os.Lstat(name)
	check(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != uid {
		t.Errorf("%s is %d:%d's, want %d's", name, st.Uid, st.Gid, uid)
	}
}

// What a repair from the host makes in a container with a user namespace is the
// container's root's. /dev is the host's root's, and is not written.
func TestEngineUserNamespaceOCI(t *testing.T) {
	for _, s := range []struct {
		name string
		make func(t *testing.T, h *Host)
		made []string
	}{
		{"adopt", journal, []string{"/run/systemd", "/run/systemd/journal", "/run/systemd/journal/dev-log"}},
		{"bind", liveSocket, []string{"/run/devlog", "/run/devlog/log", "/run/devlog/.devlog-link", "/dev/log"}},
	} {
		eachRuntimeOCI(t, func(t *testing.T, h *Host, runtime string) {
			s.make(t, h)
			before := hostTree(h)
			c := NewOCI(t, h, runtime, s.name, threeClients(s.name)+hold)
			c.mapped()
			c.Hook("createRuntime", "--no-heal")
			eachOwn(t, h, c)
			_, pid := c.State()
			for _, name := range s.made {
				ownedBy(t, h.Path(fmt.Sprintf("/proc/%d/root%s", pid, name)), firstID)
			}
			if r := c.Exec("stat", "-c", "%u", filepath.Dir(s.made[len(s.made)-1])); s.name == "adopt" && r.Out != "0\n" {
				t.Errorf("the owner as seen inside: %+v", r)
			}
			end(t, h, c, c.Rootfs)
			expectReceiversEnd(t, h)
			expectNew(t, h, before, ociLeaves(s.name)[1:]...)
			expectEmpty(t, filepath.Join(c.Rootfs, "run"))
		})
	}
}

// The start hook of LXC runs as the container's root, and may mount there.
func TestEngineUserNamespaceLXC(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, h *Host){"adopt": journal, "bind": liveSocket} {
		t.Run(name, func(t *testing.T) {
			needContainers(t, "lxc")
			h := NewHost(t)
			make(t, h)
			before := hostTree(h)
			ids := fmt.Sprintf("0 %d 65536", firstID)
			c := NewLXC(t, h, "mapped", "lxc.idmap = u "+ids, "lxc.idmap = g "+ids)
			giveTo(t, c.Rootfs)
			conf, err := os.ReadFile(c.conf)
			check(t, err)
			// A user namespace may bind a mount of the host with all below it only.
			conf = bytes.Replace(conf, []byte("/dev dev none rw,bind"), []byte("/dev dev none rw,rbind"), 1)
			check(t, os.WriteFile(c.conf, conf, 0o644))
			c.Start(threeClients("mapped") + hold)
			wantOnce(t, c.Log(), threeTexts("mapped")...)
			ownedBy(t, c.Log(), firstID)
			dir := map[string]string{"adopt": "run/systemd/journal", "bind": "run/devlog"}[name]
			ownedBy(t, filepath.Join(c.Rootfs, dir), firstID)
			expectNew(t, h, before)
			release(t, c.Rootfs)
			c.WaitStopped()
			expectReceiversEnd(t, h)
			expectNew(t, h, before)
		})
	}
}

// undo ends the receiver that the start hook has started, though it has more
// rights than who undoes.
func TestEngineUndoLXC(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	c := NewLXC(t, h, "c1")
	before := hostTree(h)
	c.Start("mkfifo /tmp/hold; exec cat /tmp/hold") // the end of the receiver, its child, would interrupt a shell
	if n := len(h.Receivers()); n != 1 {
		t.Fatalf("%d receivers", n)
	}
	if r := c.Attach(hookIn, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
		t.Errorf("undo: %+v", r)
	}
	if n := len(h.Receivers()); n != 0 {
		t.Errorf("left running: %q", h.Processes())
	}
	expectNew(t, h, before, "/dev/log") // others may have mounted over it by now
	expectEmpty(t, filepath.Join(c.Rootfs, "run"))
	release(t, c.Rootfs)
	c.WaitStopped()
}

// A user of the container who is not root types the repair: it works where he
// may write, and is refused in words where not.
func TestEngineUnprivileged(t *testing.T) {
	const user = 1000
	for _, s := range []struct {
		name, to string // to is where /dev/log leads; empty for no /dev/log
		code     int
		says     []string
	}{
		{"adopt", "/tmp/own/log", 0, []string{"repaired by adopt"}},
		{"absent", "", 3, []string{"/dev cannot be written", "run this as root"}},
		{"adopt what he may not write", "/run/systemd/journal/dev-log", 3, []string{"/dev cannot be written (permission denied)"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			eachRuntimeOCI(t, func(t *testing.T, h *Host, runtime string) {
				if s.to != "" {
					check(t, os.Symlink(s.to, h.Path("/dev/log")))
				}
				c := NewOCI(t, h, runtime, "plain", hold)
				c.Config["process"].(map[string]any)["capabilities"] = map[string]any{}
				check(t, os.Chmod(filepath.Join(c.Rootfs, "tmp"), 0o1777))
				own := filepath.Join(c.Rootfs, "tmp/own")
				check(t, os.Mkdir(own, 0o755))
				check(t, os.Chown(own, user, user))
				c.Write().Create()
				c.Start()
				eventually(t, "the container's script waits", func() bool {
					_, err := os.Lstat(filepath.Join(c.Rootfs, "tmp/hold"))
					return err == nil
				})
				exec := func(args ...string) Result {
					return h.Do(c.Args("exec", append([]string{"--user", fmt.Sprintf("%d:%[1]d", user), c.ID}, args...)...)...)
				}
				before, files := hostTree(h), snap(t, c.Rootfs, "/run", "/tmp", "/dev", "/var")
				r := exec(hookIn, "repair", "--no-heal", "--rule", "*.* /tmp/own/messages", "--adopt", "/tmp/own/log")
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
					wantOnce(t, filepath.Join(own, "messages"), "of-a-user")
				} else if after := snap(t, c.Rootfs, "/run", "/tmp", "/dev", "/var"); !slices.Equal(files, after) {
					t.Errorf("the container was\n%q\nand is\n%q", files, after)
				}
				expectNew(t, h, before)
				end(t, h, c, c.Rootfs)
				expectReceiversEnd(t, h)
			})
		})
	}
}

// A container that is started as a user without capabilities: the hook of an
// OCI runtime runs on the host, and gives it all that any other gets.
func TestEngineStartedAsUser(t *testing.T) {
	for _, s := range []devLog{{"live", liveSocket, "/run/devlog/log", false}, {"journal", journal, "/run/systemd/journal/dev-log", true},
		{"absent", nothing, "/run/devlog/log", false}} {
		t.Run(s.name, func(t *testing.T) {
			eachRuntimeOCI(t, func(t *testing.T, h *Host, runtime string) {
				s.make(t, h)
				c := NewOCI(t, h, runtime, "user", threeClients("user")+"readlink /dev/log >/tmp/leads; id -u >/tmp/uid; "+hold)
				dir := holdAt(t, c)
				check(t, os.Chmod(filepath.Join(dir, "tmp"), 0o1777))
				process := c.Config["process"].(map[string]any)
				process["user"], process["capabilities"] = map[string]any{"uid": 1000, "gid": 1000}, map[string]any{}
				process["noNewPrivileges"] = true
				c.Hook("createRuntime")
				c.Write().Create()
				c.Start()
				wantOnce(t, c.Log(), threeTexts("user")...)
				waitHeld(t, dir).Close()
				for name, want := range map[string]string{"leads": s.to + "\n", "uid": "1000\n"} {
					if got, err := os.ReadFile(filepath.Join(dir, "tmp", name)); err != nil || string(got) != want {
						t.Errorf("%s: %q, %v, want %q", name, got, err, want)
					}
				}
				c.WaitStopped()
				h.Must(c.Args("delete")...)
				expectReceiversEnd(t, h)
			})
		})
	}
}
