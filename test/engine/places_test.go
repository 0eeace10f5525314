package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// The private socket is at the documented path, wherever /dev/log points. A daemon of the
// container that listens there gets the messages, and so does one at the path of --socket.
func TestEngineOwnDaemonAdopts(t *testing.T) {
	for _, socket := range []string{"/run/devlog/log", "/run/own/log"} {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/inside %t", filepath.Base(filepath.Dir(socket)), inside), func(t *testing.T) {
				host.NeedContainers(t)
				h := host.NewHost(t)
				host.Journal(t, h)
				c := host.NewCheap(t, h, "c1", host.CheapOptions{})
				before := host.Look(t, h, c)
				r := c.Hook(inside, "repair", "--receiver", "none", "--socket", socket)
				if r.Code != 0 || !strings.Contains(r.Out, "let the container's own daemon listen on "+socket) {
					t.Fatalf("repair: %+v", r)
				}
				host.Check(t, os.MkdirAll(c.Path(filepath.Dir(socket)), 0o755))
				receive := host.Listen(t, c.Path(socket))
				c.Sh("client t 13 own")
				if got := receive(); !strings.HasSuffix(got, "own") {
					t.Errorf("the container's own daemon received %q", got)
				}
				if r := c.Hook(inside, "check"); r.Code != 0 {
					t.Errorf("check: %+v", r)
				}
				host.Check(t, os.Remove(c.Path(socket)))
				if r := c.Hook(inside, "undo", "--socket", socket); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
					t.Errorf("undo: %+v", r)
				}
				host.ExpectWorld(t, before, host.Look(t, h, c))
			})
		}
	}
}

// The watcher notices what the container's init does at /dev/log's target, even if the private
// socket is elsewhere.
func TestEngineAdoptedPlaceTaken(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	host.Journal(t, h)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "one")
	place := c.Path("/run/systemd/journal/dev-log")
	host.Check(t, os.Remove(place))
	host.Eventually(t, "the link is back", func() bool {
		to, err := os.Readlink(place)
		return err == nil && to == "/run/devlog/log"
	})
	c.WantSent(t, c.Log(false), "two")
	c.Stop()
	host.ExpectReceiversEnd(t, h)
}

// startsOver starts the host's daemon over whatever is at /dev/log, and expects that it gets
// the host's messages.
func startsOver(t *testing.T, h *host.Host, d *host.Daemon, text string) {
	t.Helper()
	d.Start()
	h.Must("logger", text)
	host.Eventually(t, "the host's daemon has the host's message", func() bool {
		got, err := os.ReadFile(d.Log)
		return err == nil && strings.Contains(string(got), text)
	})
}

// A container that starts while the host's daemon is down never keeps that daemon from
// starting: syslog-ng does not start over a dangling link.
func TestEngineDaemonDown(t *testing.T) {
	for _, k := range host.DaemonKinds {
		for _, state := range host.DevLogs[:2] { // absent, stale
			for _, inside := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/inside %t", k, state.Name, inside), func(t *testing.T) {
					host.NeedContainers(t)
					host.NeedDaemons(t)
					h := host.NewHost(t)
					state.Make(t, h)
					d := host.NewDaemon(t, h, k, "/dev/log")
					c := host.NewCheap(t, h, "c1", host.CheapOptions{})
					if r := c.Hook(inside, "repair"); r.Code != 0 {
						t.Fatalf("repair: %+v", r)
					}
					c.WantSent(t, c.Log(inside), "down")
					startsOver(t, h, d, "hosts-1")
					// The container has its own log once that is repaired.
					host.Eventually(t, "the container has its own log", c.OwnSocket)
					c.WantSent(t, c.Log(inside), "up")
					d.Stop()
					c.Stop()
					host.ExpectReceiversEnd(t, h)
					startsOver(t, h, d, "hosts-2")
					host.WantNowhere(t, filepath.Dir(d.Log), ": down\n", ": up\n")
				})
			}
		}
	}
}

// privateDev makes the container's own /dev. Only what is mounted over log is the host's.
const privateDev = `mount -n -t tmpfs -o mode=755 dev dev
mknod -m 666 dev/null c 1 3
: >dev/log
mount -n --bind /run/hosts/log dev/log`

// A socket of the host that is mounted over /dev/log is dead after the daemon's restart. The
// repair covers it, whatever is below it.
func TestEngineMountedLog(t *testing.T) {
	for _, tt := range []struct{ name, dev string }{
		{"private", privateDev},
		{"shared", "mount -n --rbind /dev dev\nmount -n --bind /run/hosts/log dev/log"},
	} {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/inside %t", tt.name, inside), func(t *testing.T) {
				host.NeedContainers(t)
				h := host.NewHost(t)
				if tt.name == "shared" {
					_ = host.ListenOn(t, h, "/dev/log")
				}
				host.Check(t, os.Mkdir(h.Path("/run/hosts"), 0o755))
				dead := h.Path("/run/hosts/log")
				host.StaleSocketAt(t, dead)
				c := host.NewCheap(t, h, "c1", host.CheapOptions{Dev: tt.dev})
				host.Check(t, os.Remove(dead))
				before := host.Look(t, h, c)
				r := c.Hook(inside, "repair")
				if r.Code != 0 {
					t.Fatalf("repair: %+v", r)
				}
				c.WantSent(t, c.Log(inside), "own")
				if r := c.Hook(inside, "check"); r.Code != 0 {
					t.Errorf("check: %+v", r)
				}
				if r := c.Hook(inside, "undo"); r.Code != 0 {
					t.Errorf("undo: %+v", r)
				}
				after := host.Look(t, h, c)
				after.Mounts, after.Files = before.Mounts, before.Files // the dead socket is not mounted again
				host.ExpectWorld(t, before, after)
			})
		}
	}
}

// A container's daemon replaces /dev/log of a prepared host, and gets everybody's messages. Any
// other container's receiver, or repair --host, restores it for all.
func TestEngineIntruder(t *testing.T) {
	for _, autoRepair := range []bool{true, false} {
		t.Run(fmt.Sprintf("auto-repair %t", autoRepair), func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			host.NeedDaemons(t)
			h := host.NewHost(t)
			receive := host.ListenOn(t, h, "/dev/log")
			h.Must(host.HookOn(), "repair", "--host")
			c, other := host.NewCheap(t, h, "c1", host.CheapOptions{}), oldContainer(t, h, "other")
			other.Start(holdInit)
			flags := []string{"repair"}
			if !autoRepair {
				flags = append(flags, "--no-auto-repair")
			}
			if r := c.Hook(false, flags...); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			taken := func() bool { to, err := os.Readlink(h.Path("/dev/log")); return err != nil || to != "/run/devlog/log" }
			intruder := NewDaemonIn(t, other, host.DaemonKinds[0], "/dev/log")
			if !autoRepair {
				intruder.Start()
				if !taken() {
					t.Fatal("the container's daemon does not take /dev/log")
				}
				if r := h.Do(host.HookOn(), "check", "--host"); r.Code != 1 || strings.Contains(r.Out, "syslog()  works") {
					t.Errorf("check --host: %+v", r)
				}
				if r := h.Do(host.HookOn(), "repair", "--host"); r.Code != 0 {
					t.Errorf("repair --host: %+v", r)
				}
			} else {
				_ = host.Background(t, h, intruder.Args...)
				host.Eventually(t, "the receiver repairs", func() bool {
					got, err := os.ReadFile(c.Log(false))
					return err == nil && strings.Contains(string(got), "/dev/log was replaced; repaired")
				})
			}
			if taken() {
				t.Error("the container's daemon still has /dev/log")
			}
			h.Must("logger", "hosts")
			if got := receive(); !strings.HasSuffix(got, " hosts") {
				t.Errorf("the host's daemon received %q", got)
			}
			c.WantSent(t, c.Log(false), "own")
			if r := h.Do(host.HookOn(), "check", "--host"); !strings.Contains(r.Out, "syslog()  works") {
				t.Errorf("check --host: %+v", r)
			}
			if pid := intruder.Find(); pid != 0 {
				h.Must("kill", "-9", fmt.Sprint(pid))
			}
			intruder.Pid = 0
			stopAll(t, other)
		})
	}
}

// A confined receiver whose repair found no host daemon cannot mount. It still repairs when
// such a daemon replaces /dev/log.
func TestEngineConfinedRepairs(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	host.Eventually(t, "the receiver is confined", func() bool { return strings.Contains(c.Hook(false, "check").Out, ", confined (") })
	host.Check(t, os.Remove(h.Path("/dev/log")))
	receive := host.ListenOn(t, h, "/dev/log")
	host.Eventually(t, "the container has its own log", c.OwnSocket)
	c.WantSent(t, c.Log(false), "own")
	h.Must("logger", "hosts")
	if got := receive(); !strings.HasSuffix(got, " hosts") {
		t.Errorf("the host's daemon received %q", got)
	}
}

// In a container that also has the host's /run, /dev/log points to the host's listener. That
// does not belong to the container, and is no place to listen.
func TestEngineHostsRunInside(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	host.Journal(t, h)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{Run: "mount -n --rbind /run run"})
	if r := c.Hook(true, "check"); r.Code != 1 {
		t.Errorf("check: %+v", r)
	}
	if r := c.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(true), "own")
	if r := c.Hook(true, "check"); r.Code != 0 {
		t.Errorf("check after the repair: %+v", r)
	}
	if to, err := os.Readlink(h.Path("/dev/log")); err != nil || to != "/run/systemd/journal/dev-log" {
		t.Errorf("the host's /dev/log points to %q, %v", to, err)
	}
}

// If only root may enter /run, repair says so, and check does not report success.
func TestEngineClosedRun(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{Run: "mount -n -t tmpfs -o mode=700 run run"})
	if r := c.Hook(false, "repair"); r.Code != 0 || !strings.Contains(r.Out, "chmod 755 /run") {
		t.Errorf("repair: %+v", r)
	}
	if r := c.Hook(false, "check"); r.Code != 1 || !strings.Contains(r.Out, "works for root only") {
		t.Errorf("check: %+v", r)
	}
	host.Eventually(t, "the log says so, too", func() bool {
		got, err := os.ReadFile(c.Log(false))
		return err == nil && strings.Contains(string(got), "only root can log")
	})
	c.Sh("chmod 755 /run")
	if r := c.Hook(false, "check"); r.Code != 0 {
		t.Errorf("check of an open /run: %+v", r)
	}
}

// noMounts is a seccomp policy for LXC that denies mounts despite the capability, as AppArmor
// does.
const noMounts = `2
denylist
mount errno 13
move_mount errno 13
open_tree errno 13
`

// A mount is denied despite the capability: the repair works without one if it can. Otherwise
// it is refused, with advice.
func TestEngineMountDenied(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	policy := filepath.Join(t.TempDir(), "policy")
	host.Check(t, os.WriteFile(policy, []byte(noMounts), 0o644))
	c := host.BareLXC(t, h, "c1", "lxc.seccomp.profile = "+policy)
	c.Start(holdInit)
	_ = host.ListenOn(t, h, "/dev/log")
	before := host.Tree(h)
	expectRefusal(t, c.Attach(host.HookIn, "repair"), 3, "permission denied")
	expectRefusal(t, c.Attach(host.HookIn, "repair"), 3, "run devlog-hook repair --host on the host once")
	expectRefusal(t, c.Attach(host.HookIn, "repair", "--strategy", "bind"), 3, "permission denied")
	expectNothingNew(t, h, before)
	h.Must(host.HookOn(), "repair", "--host")
	if r := c.Attach(host.HookIn, "repair"); r.Code != 0 {
		t.Errorf("repair on a prepared host: %+v", r)
	}
	if r := c.Attach("/bin/client", "t", "13", "own"); r.Code != 0 {
		t.Errorf("client: %+v", r)
	}
	host.WantOnce(t, c.Log(), "own")
	stopAll(t, c)
}

// The receiver of a start hook is in the container's PID namespace, which the
// host sees.
func TestEngineReceiverInsideSeen(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	want := fmt.Sprintf("receiver  devlogd %d, ", pids[0])
	if r := c.Hook(false, "check"); r.Code != 0 || !strings.Contains(r.Out, want) {
		t.Errorf("check: %+v, want %q", r, want)
	}
	h.Must("kill", "-KILL", fmt.Sprint(pids[0]))
	host.WaitDead(t, h, pids[0])
	if r := c.Hook(false, "check"); r.Code != 1 || !strings.Contains(r.Out, "receiver  has gone") {
		t.Errorf("check after the kill: %+v", r)
	}
}
