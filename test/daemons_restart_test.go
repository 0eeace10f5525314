package test

import (
	"slices"
	"testing"
	"time"
)

// healed is how soon everybody has to log to his own again after /dev/log was
// replaced. The aim is one second; a loaded machine may need more.
const healed = 15 * time.Second

// neighbours starts a container of LXC with a receiver inside and one of runc
// with a receiver on the host, and returns where one can log.
func neighbours(t *testing.T, h *Host, d *Daemon) (places []place, stop func()) {
	t.Helper()
	l := NewLXC(t, h, "inside")
	l.Start(hold)
	o := NewOCI(t, h, "runc", "outside", hold)
	o.Hook("prestart")
	o.Write().Create()
	o.Start()
	return []place{hostPlace(h, d.Log), lxcPlace(t, l, l.Log()), ociPlace(o)}, func() {
		t.Helper()
		release(t, l.Rootfs)
		l.WaitStopped()
		release(t, o.Rootfs)
		o.WaitStopped()
		h.Must(o.Args("delete")...)
	}
}

type event struct {
	name string
	do   func()
}

// The host's daemon is started anew, or somebody replaces /dev/log: soon
// everybody logs to his own again, with the receivers that ran before.
func TestHostDaemonRestart(t *testing.T) {
	for _, k := range daemonKinds {
		for _, prepared := range []bool{true, false} {
			name := k.String() + map[bool]string{true: "/prepared", false: "/unprepared"}[prepared]
			t.Run(name, func(t *testing.T) {
				needContainers(t, "lxc", "runc")
				needDaemons(t)
				h := NewHost(t)
				d := NewDaemon(t, h, k, "/dev/log")
				d.Start()
				if prepared {
					h.Must(hookOn(), "repair", "--host")
				}
				places, stop := neighbours(t, h, d)
				expectOwnLogs(t, places, "before")
				receivers := h.Receivers()
				restart := func() { d.Stop(); d.Start() }
				events := []event{{"first", restart}, {"second", restart}}
				if prepared { // else the host's only name is gone
					other := NewCheap(t, h, "other", cheapOptions{})
					events = []event{events[0],
						{"rm", func() { other.Sh("rm /dev/log") }},
						{"link", func() { other.Sh("ln -sf /run/somewhere /dev/log") }},
						{"undo", func() { h.Must(hookOn(), "undo", "--host") }},
						{"prepare", func() { h.Must(hookOn(), "repair", "--host") }},
						events[1]}
				}
				for _, e := range events {
					e.do()
					took := soonOwn(t, places, e.name)
					t.Logf("after %s: %v", e.name, took)
					if took > healed {
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
