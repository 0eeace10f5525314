//go:build soak

package soak

import (
	"path/filepath"
	"strings"

	"devlog/test/host"
)

// One container is hostile: its root does all the harm that it can to the shared /dev, all the time.

// burst makes the hostile container make names in /dev in bursts, also names that repairs use
// temporarily.
const burst = `busybox cp /opt/devlog/devlogd /evil # so that its command line has no receiver's name
names=; for i in $(busybox seq 100); do names="$names /dev/n$i"; done
temps=; for i in 0 1 2 3; do temps="$temps /dev/.devlog-tmp-$i"; done
while :; do
	busybox mkdir $names || :; busybox rmdir $names || :
	busybox mkdir $temps || :; busybox rmdir $temps || :
	busybox sleep 0.3
done >/dev/null 2>&1 &
`

// startNeighbour starts the hostile container.
func (s *soak) startNeighbour() {
	s.neighbour = host.NewCheap(s.t, s.h, "hostile", host.CheapOptions{Bin: s.bin, After: burst})
}

// stopNeighbour ends it, and removes what an administrator would have to remove.
func (s *soak) stopNeighbour() {
	s.neighbour.Stop()
	s.h.Must("sh", "-c", "rm -rf /dev/log.devlog-old /dev/n[0-9]* /dev/.devlog-tmp-*")
}

// hostileTargets are the targets of its links at /dev/log.
var hostileTargets = []string{"/etc/nologin", "/data/x/y/log", "/", "/dev/kmsg", "/proc/1/root/run/x", "../tmp/log", "/run/systemd/journal/dev-log", "log"}

// neighbourFaults are what it does to names that all containers use.
var neighbourFaults = []fault{
	{name: "neighbour: /dev/log a link", begin: func(b *box) func() {
		to := hostileTargets[b.s.rng.IntN(len(hostileTargets))]
		return replaced(b, func() { b.s.neighbour.Sh("busybox ln -s " + to + " /dev/l.new; busybox mv -T /dev/l.new /dev/log") })
	}},
	{name: "neighbour: /dev/log a directory", begin: func(b *box) func() {
		return replaced(b, func() {
			b.s.neighbour.Sh("until busybox rm -f /dev/log; busybox mkdir /dev/log; do :; done; busybox mkdir /dev/log/in || :")
		})
	}},
	{name: "neighbour: /dev/log a file", begin: func(b *box) func() {
		return replaced(b, func() { b.s.neighbour.Sh("echo x >/dev/l.new; busybox mv -T /dev/l.new /dev/log") })
	}},
	{name: "neighbour: /dev/log a FIFO", begin: func(b *box) func() {
		return replaced(b, func() { b.s.neighbour.Sh("busybox mkfifo /dev/l.new; busybox mv -T /dev/l.new /dev/log") })
	}},
	{name: "neighbour: the host's socket replaced", begin: func(b *box) func() {
		return hostTaken(b, "/evil --listen /dev/.devlog-host --rule '*.* /stolen' </dev/null >/dev/null 2>&1 & echo $! >/evil.pid; "+
			"until test -S /dev/.devlog-host; do busybox sleep 0.01; done", "kill $(busybox cat /evil.pid); while busybox readlink /proc/$(busybox cat /evil.pid)/exe >/dev/null; do busybox sleep 0.01; done")
	}},
	{name: "neighbour: the host's socket removed", begin: func(b *box) func() { return hostTaken(b, ":", ":") }},
}

// hostTaken makes the hostile container take the name of the host's socket. check reports that, and
// its hint mends it.
func hostTaken(b *box, put, end string) func() {
	s := b.s
	hook := filepath.Join(s.bin, "devlog-hook")
	over := s.open()
	l := &loss{why: "the host's socket in the hands of a neighbour", from: soakClock(), to: never, bound: 1 << 30}
	s.host.losses = append(s.host.losses, l)
	s.neighbour.Sh("busybox rm /dev/.devlog-host; " + put)
	if r := s.h.Do(hook, "check", "--host"); r.Code == 0 {
		s.wrong("check --host while the host's socket is not the daemon's: %+v", r)
	}
	return func() {
		if r := s.h.Do(hook, "repair", "--host"); !strings.Contains(r.Out+r.ErrOut, "restart ") {
			s.wrong("repair --host while the host's socket is not the daemon's: %+v", r)
		}
		s.daemon.Stop()
		s.neighbour.Sh(end)
		l.to = soakClock()
		s.h.Must(hook, "repair", "--host") // the neighbour's socket may be gone, and some daemons do not start without one
		s.daemon.Start()
		s.waitRepaired()
		over()
	}
}

func init() { hostFaults = append(hostFaults, neighbourFaults...) } // avoids an initialization cycle
