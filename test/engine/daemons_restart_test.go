package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// repairedIn is the longest time until every container's messages are in its own log again
// after /dev/log was replaced. The aim is one second; a loaded machine may need more.
const repairedIn = 15 * time.Second

// neighbours starts an LXC container with a receiver inside and a runc container with a
// receiver on the host, and returns them as places.
func neighbours(t *testing.T, h *host.Host, d *host.Daemon) (places []place, stop func()) {
	t.Helper()
	l := host.NewLXC(t, h, "inside")
	l.Start(host.Hold)
	o := host.NewOCI(t, h, "runc", "outside", host.Hold)
	o.Hook("prestart")
	o.Write().Create()
	o.Start()
	return []place{hostPlace(h, d.Log), lxcPlace(t, l, l.Log()), ociPlace(o)}, func() {
		t.Helper()
		host.Release(t, l.Rootfs)
		l.WaitStopped()
		host.Release(t, o.Rootfs)
		o.WaitStopped()
		h.Must(o.Args("delete")...)
	}
}

type event struct {
	name string
	do   func()
}

// After a restart of the host's daemon, or a replacement of /dev/log, every message soon
// arrives in its own log again, with the same receivers.
func TestHostDaemonRestart(t *testing.T) {
	for _, k := range host.DaemonKinds {
		for _, prepared := range []bool{true, false} {
			name := k.String() + map[bool]string{true: "/prepared", false: "/unprepared"}[prepared]
			t.Run(name, func(t *testing.T) {
				host.NeedContainers(t, "lxc", "runc")
				host.NeedDaemons(t)
				h := host.NewHost(t)
				d := host.NewDaemon(t, h, k, "/dev/log")
				d.Start()
				if prepared {
					h.Must(host.HookOn(), "repair", "--host")
				}
				places, stop := neighbours(t, h, d)
				expectOwnLogs(t, places, "before")
				receivers := h.Receivers()
				restart := func() { d.Stop(); d.Start() }
				events := []event{{"first", restart}, {"second", restart}}
				if prepared { // otherwise the host's only name is gone
					other := host.NewCheap(t, h, "other", host.CheapOptions{})
					events = []event{events[0],
						{"rm", func() { other.Sh("rm /dev/log") }},
						{"link", func() { other.Sh("ln -sf /run/somewhere /dev/log") }},
						{"undo", func() { h.Must(host.HookOn(), "undo", "--host") }},
						{"prepare", func() { h.Must(host.HookOn(), "repair", "--host") }},
						events[1]}
				}
				for _, e := range events {
					e.do()
					took := soonOwn(t, places, e.name)
					t.Logf("after %s: %v", e.name, took)
					if took > repairedIn {
						t.Errorf("after %s it took %v", e.name, took)
					}
				}
				if now := h.Receivers(); !slices.Equal(now, receivers) {
					t.Errorf("the receivers were %v and are %v", receivers, now)
				}
				stop()
			})
		}
	}
}

// A container's own daemon takes the private socket from the receiver, in the container or on
// the host. The receiver reports that, yields, and watches /dev/log for the daemon. When the
// daemon has ended, it receives again.
func TestOwnDaemonStepsIn(t *testing.T) {
	for _, k := range host.DaemonKinds {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/inside %t", k, inside), func(t *testing.T) {
				t.Parallel() // it waits until a restart can be ruled out
				host.NeedContainers(t, "lxc")
				host.NeedDaemons(t)
				h := host.NewHost(t)
				onHost := host.NewDaemon(t, h, k, "/dev/log")
				onHost.Start()
				c := oldContainer(t, h, "c")
				c.Start(holdInit)
				ours, pid := c.Log(), strings.TrimSpace(h.Must(c.Args("lxc-info", "-pH")...).Out)
				if inside {
					if r := c.Attach(host.HookIn, "repair"); r.Code != 0 {
						t.Fatalf("repair: %+v", r)
					}
				} else {
					h.Must(host.HookOn(), "repair", "--pid", pid, "--name", "c")
					ours = h.Path("/var/log/devlog/c/messages")
				}
				places := func(log string) []place { return []place{hostPlace(h, onHost.Log), lxcPlace(t, c, log)} }
				expectOwnLogs(t, places(ours), "receiver")
				receivers := h.Receivers()
				own := NewDaemonIn(t, c, k, "/run/devlog/log")
				own.Start()
				soonOwn(t, places(own.Log), "daemon")
				host.Eventually(t, "the receiver says that it steps aside", func() bool {
					got, err := os.ReadFile(ours)
					return err == nil && bytes.Contains(got, []byte(": another daemon listens on /run/devlog/log now; devlogd only watches /dev/log\n"))
				})
				onHost.Stop()
				onHost.Start()
				soonOwn(t, places(own.Log), "kept")
				host.WantNowhere(t, filepath.Dir(ours), ": daemon-c\n", ": kept-c\n")
				own.Stop()
				if r := c.Attach("/bin/rm", "-f", "/run/devlog/log"); r.Code != 0 { // syslog-ng leaves it, so its end would cause no event
					t.Fatalf("rm: %+v", r)
				}
				soonOwn(t, places(ours), "back")
				if now := h.Receivers(); !slices.Equal(now, receivers) {
					t.Errorf("the receivers were %v and are %v", receivers, now)
				}
				stopAll(t, c)
			})
		}
	}
}
