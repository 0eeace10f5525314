package engine

import (
	"os"
	"path/filepath"
	"testing"

	"devlog/test/host"
)

// The problem that devlog was made for: a host and its containers share one /dev, and each
// runs Debian's syslog-ng.

// oldContainer makes an LXC container that can run syslog-ng, with these lines of
// configuration.
func oldContainer(t *testing.T, h *host.Host, name string, lines ...string) *host.LXC {
	t.Helper()
	scripts, err := filepath.Abs("../hooks")
	host.Check(t, err)
	lines = append(lines, daemonsIn()...)
	return host.BareLXC(t, h, name, append(lines, "lxc.mount.entry = "+scripts+" etc/init.d none ro,bind,create=dir 0 0")...)
}

// holdInit is host.Hold for an init that gets orphans: the end of one interrupts its
// wait.
const holdInit = "mkfifo /tmp/hold; until read _ </tmp/hold; do :; done\n"

// stopAll ends containers that wait in holdInit.
func stopAll(t *testing.T, cs ...*host.LXC) {
	t.Helper()
	for _, c := range cs {
		host.Release(t, c.Rootfs)
		c.WaitStopped()
	}
}

// socketTypes runs a test with either type of socket.
func socketTypes(t *testing.T, test func(t *testing.T, k host.DaemonKind)) {
	for _, k := range host.DaemonKinds {
		if k.Program == "syslog-ng" {
			t.Run(k.String(), func(t *testing.T) {
				host.NeedContainers(t, "lxc")
				host.NeedDaemons(t)
				test(t, k)
			})
		}
	}
}

// Without devlog, the daemon that was started last gets all messages.
func TestOldProblem(t *testing.T) {
	socketTypes(t, func(t *testing.T, k host.DaemonKind) {
		h := host.NewHost(t)
		onHost := host.NewDaemon(t, h, k, "/dev/log")
		onHost.Start()
		a, b := oldContainer(t, h, "a"), oldContainer(t, h, "b")
		places := []place{hostPlace(h, onHost.Log)}
		var inside []*host.Daemon
		for _, c := range []*host.LXC{a, b} {
			c.Start(holdInit)
			d := NewDaemonIn(t, c, k, "/dev/log")
			d.Start()
			inside = append(inside, d)
			places = append(places, lxcPlace(t, c, d.Log))
		}
		for _, p := range places {
			if r := p.send("lost-" + p.name); r.Code != 0 {
				t.Fatalf("log in %s: %+v", p.name, r)
			}
		}
		for _, p := range places {
			host.WantOnce(t, places[2].log, "lost-"+p.name)
			for _, other := range places[:2] {
				if other.holds("lost-" + p.name) {
					t.Errorf("the message of %s is in the log of %s", p.name, other.name)
				}
			}
		}
		for _, d := range inside {
			d.Stop()
		}
		stopAll(t, a, b)
	})
}

// With devlog, each has its own messages and no others: A with its own syslog-ng behind the
// private socket, B with a receiver. This is so after a restart of either daemon, on a prepared
// or unprepared host, and with a repair by LXC's hook or by an init script inside.
func TestOldProblemSolved(t *testing.T) {
	socketTypes(t, func(t *testing.T, k host.DaemonKind) {
		for _, prepared := range []bool{true, false} {
			for _, start := range []string{"hook", "init script"} {
				t.Run(map[bool]string{true: "prepared", false: "unprepared"}[prepared]+"/"+start, func(t *testing.T) {
					h := host.NewHost(t)
					onHost := host.NewDaemon(t, h, k, "/dev/log")
					onHost.Start()
					if prepared {
						h.Must(host.HookOn(), "repair", "--host")
					}
					a, b := solvedContainers(t, h, start)
					inA := NewDaemonIn(t, a, k, "/run/devlog/log")
					inA.Start()
					places := []place{hostPlace(h, onHost.Log), lxcPlace(t, a, inA.Log), lxcPlace(t, b, b.Log())}
					expectOwnLogs(t, places, "solved")
					if n := len(h.Receivers()); n != 2 {
						t.Errorf("%d receivers, want one of B and the watcher of A: %q", n, h.Processes())
					}
					onHost.Stop()
					onHost.Start()
					t.Logf("after the restart of the host's daemon: %v", soonOwn(t, places, "host-again"))
					inA.Stop()
					inA.Start()
					t.Logf("after the restart of A's daemon: %v", soonOwn(t, places, "a-again"))
					inA.Stop()
					stopAll(t, a, b)
				})
			}
		}
	})
}

// solvedContainers starts A, which has its own daemon, and B.
func solvedContainers(t *testing.T, h *host.Host, start string) (a, b *host.LXC) {
	t.Helper()
	if start == "hook" {
		hook := "lxc.hook.start = " + host.HookIn
		a = oldContainer(t, h, "a", hook, "lxc.environment = DEVLOG_RECEIVER=none")
		b = oldContainer(t, h, "b", hook)
		a.Start(holdInit)
		b.Start(holdInit)
		return a, b
	}
	a, b = oldContainer(t, h, "a"), oldContainer(t, h, "b")
	host.Check(t, os.Mkdir(filepath.Join(a.Rootfs, "etc/default"), 0o755))
	host.Check(t, os.WriteFile(filepath.Join(a.Rootfs, "etc/default/devlog"), []byte("DEVLOG_RECEIVER=none\n"), 0o644))
	for _, c := range []*host.LXC{a, b} {
		c.Start(holdInit)
		for _, step := range []struct {
			command string
			code    int
		}{{"status", 3}, {"start", 0}, {"stop", 0}, {"status", 3}, {"start", 0}, {"restart", 0}, {"nosuch", 2}} {
			if r := c.Attach("/etc/init.d/devlog.init", step.command); r.Code != step.code {
				t.Fatalf("devlog.init %s in %s: %+v, want exit code %d", step.command, c.Name, r, step.code)
			}
		}
	}
	return a, b
}
