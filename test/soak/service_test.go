//go:build soak

package soak

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// serviceFaults are those of the host's service, which has some of the containers. A service manager keeps
// its files, as systemd does, or nobody does. What they end with, whole waits for.
var serviceFaults = []fault{
	{name: "service: reader killed", begin: func(b *box) func() { return b.s.killReader() }},
	{name: "service: reader killed, flood", begin: func(b *box) func() {
		b.s.flood(2)
		return b.s.killReader()
	}},
	{name: "service: reader killed, disks full", begin: killReaderOnFullDisks},
	{name: "service: reader stopped for a while", begin: pauseReader},
	{name: "service: killed", kept: true, begin: func(b *box) func() { return b.s.restartService("KILL", true) }},
	{name: "service: killed, flood", kept: true, begin: func(b *box) func() {
		b.s.flood(2)
		return b.s.restartService("KILL", true)
	}},
	{name: "service: killed with its reader", kept: true, begin: func(b *box) func() {
		b.s.killReader()
		return b.s.restartService("KILL", true)
	}},
	{name: "service: killed while it starts", kept: true, begin: killStart},
	{name: "service: restarted", kept: true, begin: func(b *box) func() { return b.s.restartService("TERM", true) }},
	{name: "service: killed, nothing kept", begin: func(b *box) func() { return b.s.restartService("KILL", false) }},
	{name: "service: killed, nothing kept, flood", begin: func(b *box) func() {
		b.s.flood(2)
		return b.s.restartService("KILL", false)
	}},
	{name: "service: stopped and started, nothing kept", begin: func(b *box) func() { return b.s.restartService("TERM", false) }},
	{name: "service: a repair of what it lost killed", begin: killLostRepair},
	{name: "service: recvmmsg: signals", begin: readerInjector("recvmmsg")},
	{name: "service: epoll_pwait: EINTR", begin: readerInjector("epoll_pwait")},
	{name: "service: clock jumps", begin: jumpReader},
}

func nothing() {}

// serviceUser is the user of the process that reads messages.
const serviceUser = "devlog:x:12345:54321::/:/bin/false"

// makeUser makes that user.
func (s *soak) makeUser() {
	s.h.Must("sh", "-euc", "{ cat /etc/passwd; echo "+serviceUser+"; } >/run/passwd; mount -n --bind /run/passwd /etc/passwd")
}

// startService starts the host's service.
func (s *soak) startService() {
	s.service = host.NewManager(s.t, s.h, filepath.Join(s.bin, "devlogd"))
	s.service.Start(s.rng.IntN(2) == 0)
}

// stopService ends it, and removes what it and its manager leave.
func (s *soak) stopService() {
	s.t.Helper()
	s.eventually("the service has no container", func() bool { return len(s.listed()) == 0 })
	s.service.End("TERM")
	s.service.Close()
	s.h.Must("rm", "-f", "/run/devlog/node")
	s.h.Must("rmdir", "/run/devlog/containers")
}

// served are the boxes that the service has.
func (s *soak) served() []*box {
	return slices.DeleteFunc(slices.Clone(s.boxes), func(b *box) bool { return !b.served })
}

// flood has so many thousands of messages sent in each of those.
func (s *soak) flood(thousands int) {
	for _, b := range s.served() {
		if !b.sender.hasEnded() { // with its container
			b.sender.more(s.t, thousands)
		}
	}
	time.Sleep(time.Duration(s.rng.IntN(50)) * time.Millisecond) // how far they are is left to chance
}

// listed are the first processes of the service's containers.
func (s *soak) listed() (pids []int) {
	s.t.Helper()
	r := s.h.Do(filepath.Join(s.bin, "devlog-hook"), "list", "--json")
	var list []struct{ PID, Receiver int }
	if r.Code == 0 {
		host.Check(s.t, json.Unmarshal([]byte(r.Out), &list))
	}
	for _, c := range list {
		if c.Receiver == s.service.PID {
			pids = append(pids, c.PID)
		}
	}
	return pids
}

// serviceUse is what the service's two processes need.
type serviceUse struct {
	fds    []string
	memory int // that is private, in bytes
}

// uses returns that of both.
func (s *soak) uses() (list [2]serviceUse) {
	s.t.Helper()
	for i, pid := range []int{s.service.PID, s.service.Reader()} {
		list[i] = serviceUse{s.descriptors(pid), s.private(pid)}
	}
	return list
}

// private is how much private memory a process has, in bytes.
func (s *soak) private(pid int) int {
	text, _ := os.ReadFile(s.h.Path(fmt.Sprintf("/proc/%d/smaps_rollup", pid))) // it may have ended
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss_Anon:" {
			return atoi([]byte(f[1])) << 10
		}
	}
	return 0
}

// seeService keeps what the service needs for all its containers.
func (s *soak) seeService() {
	s.t.Helper()
	s.eventually("the service watches", func() bool {
		s.serviceUse = s.uses()
		return slices.Contains(s.serviceUse[0].fds, "anon_inode:inotify")
	})
}

// restless says how the service is not what it should be, when nothing happens.
func (s *soak) restless() (wrong []string) {
	s.t.Helper()
	var want []int
	for _, b := range s.served() {
		want = append(want, b.pid)
	}
	if is := s.listed(); !slices.Equal(slices.Sorted(slices.Values(is)), slices.Sorted(slices.Values(want))) {
		wrong = append(wrong, fmt.Sprintf("the service has the containers of %v, and should have those of %v", is, want))
	}
	if saved, err := os.ReadDir(s.h.Path("/run/devlog/containers")); err != nil || len(saved) != len(want) {
		wrong = append(wrong, fmt.Sprintf("%d containers are noted, %v, and should be %d", len(saved), err, len(want)))
	}
	const files, sockets = 8, 16 // of a container, which are kept; sockets of earlier repairs among them
	if kept, most := s.service.Kept(), 1+(files+sockets)*len(want); kept > most {
		wrong = append(wrong, fmt.Sprintf("%d files are kept for the service, %d at most should", kept, most))
	}
	readers := 0
	for _, p := range s.h.Processes() {
		if strings.Contains(p, " --node-reader ") {
			readers++
		}
	}
	if n := s.children(s.service.PID); readers != 1 || n != 1 {
		wrong = append(wrong, fmt.Sprintf("%d processes read messages, and the service has %d children", readers, n))
	}
	for i, is := range s.uses() {
		// Sockets of earlier repairs may be open.
		was := slices.Concat(s.serviceUse[i].fds, slices.Repeat([]string{"socket:[N]"}, (sockets-1)*len(want)))
		if more, _ := extra(was, is.fds); len(more) > 0 {
			wrong = append(wrong, fmt.Sprintf("process %d of the service has open %q, and had at first only %q", i, more, s.serviceUse[i].fds))
		}
		if is.memory > s.serviceUse[i].memory+maxGrown {
			wrong = append(wrong, fmt.Sprintf("process %d of the service has %d kB of private memory, and had %d at first", i, is.memory>>10, s.serviceUse[i].memory>>10))
		}
	}
	return wrong
}

// maxGrown is how many bytes more a process of the service may need than at first: its heap is larger after
// many calls, and after several full disks, for each of which it buffers maxKept bytes.
const maxGrown = 8 << 20

// whole waits until all containers of the service can log.
func (s *soak) whole() {
	s.t.Helper()
	now := soakClock()
	for _, b := range s.served() {
		b.worksSince(now)
		b.log.torn = 0
	}
	s.outage.over()
}

// mayTear notes that who writes the service's logs is killed. If the disk is full, the message about that
// may be lost too.
func (s *soak) mayTear() {
	for _, b := range s.served() {
		b.log.torn = 1
		b.own += maxOwn
	}
}

// killReader kills the process that reads: no send fails, and what is lost is counted.
func (s *soak) killReader() (end func()) {
	s.t.Helper()
	var pid int
	s.eventually("a process reads messages", func() bool {
		pid = s.service.Reader()
		return pid != 0
	})
	s.mayTear()
	s.signal("KILL", pid)
	return nothing
}

func killReaderOnFullDisks(b *box) func() {
	s := b.s
	var free []func()
	for _, b := range s.served() {
		if !slices.Contains(s.struck, b) {
			free = append(free, b.full())
			b.sender.more(s.t, 1)
			b.progress(500)
		}
	}
	s.killReader()
	return func() {
		for _, f := range free {
			f()
		}
	}
}

// pauseReader has senders wait.
func pauseReader(b *box) func() {
	s := b.s
	pid := s.service.Reader()
	if pid == 0 {
		s.miss()
		return nothing
	}
	s.signal("STOP", pid)
	s.host.progress(5)
	s.signal("CONT", pid)
	return nothing
}

// restartService ends the service by a signal and starts it again. Its sockets stay if they are kept before
// and after. Otherwise sends fail until the service has had its containers repaired.
func (s *soak) restartService(signal string, keep bool) (end func()) {
	s.t.Helper()
	s.mayTear()
	if !keep || !s.service.Keeps {
		s.outage.begin()
	}
	if !keep && s.service.Keeps { // what waits in the sockets is left to the next, which does not get it
		s.outage.cost(s.served())
	}
	s.service.End(signal)
	s.service.Start(keep)
	return nothing
}

// outage is the times in which the service's containers may have no sockets.
type outage struct {
	spans []span
	open  bool // the last one is not over
	costs map[*box]*loss
	most  time.Duration // that one has taken
}

// begin begins such a time, if it is none.
func (o *outage) begin() {
	if !o.open {
		o.spans, o.open, o.costs = append(o.spans, span{soakClock(), never}), true, map[*box]*loss{}
	}
}

// cost notes that each of the boxes may lose what waits in its socket.
func (o *outage) cost(boxes []*box) {
	for _, b := range boxes {
		if o.costs[b] == nil {
			o.costs[b] = &loss{why: "the end of the service", from: soakClock(), to: never}
			b.losses = append(b.losses, o.costs[b])
		}
		o.costs[b].bound += 2 * maxQueued() // it may have a new socket beside one that was removed
	}
}

// over ends such a time.
func (o *outage) over() {
	if !o.open {
		return
	}
	last := &o.spans[len(o.spans)-1]
	last.to, o.open = soakClock(), false
	o.most = max(o.most, time.Duration(last.to-last.from)*time.Microsecond)
	for _, l := range o.costs {
		l.to = last.to
	}
}

// killStart kills the service while it starts.
func killStart(b *box) func() {
	s := b.s
	s.mayTear()
	s.service.End("KILL")
	for range 3 {
		s.mayTear()
		s.service.Start(true)
		time.Sleep(time.Duration(s.rng.IntN(50)) * time.Millisecond) // where it is then is left to chance
		s.service.End("KILL")
	}
	s.service.Start(true)
	return nothing
}

// killLostRepair kills a repair of a container whose sockets were closed. Whoever finds that repairs it.
func killLostRepair(b *box) func() {
	s := b.s
	at := slices.IndexFunc(s.boxes, func(b *box) bool { return b.served && !slices.Contains(s.struck, b) })
	if at < 0 {
		s.miss()
		return nothing
	}
	// A repair takes milliseconds: this one waits for the lock.
	root, err := os.Open(s.h.Path(fmt.Sprintf("/proc/%d/root", s.boxes[at].pid)))
	host.Check(s.t, err)
	host.Check(s.t, unix.Flock(int(root.Fd()), unix.LOCK_EX))
	s.restartService("KILL", false)
	s.eventually("a repair is killed", func() bool { return s.killHook("repair-lost", func() bool { return false }) })
	host.Check(s.t, root.Close())
	s.outage.cost(s.served()) // it may have bound the socket
	for _, b := range s.served() {
		if !b.sender.hasEnded() { // with its container
			b.repair()
		}
	}
	return nothing
}

// readerInjector has strace interrupt system calls of the process that reads.
func readerInjector(call string) func(b *box) func() {
	return func(b *box) func() {
		s := b.s
		pid := s.service.Reader()
		if pid == 0 {
			s.miss()
			return nothing
		}
		detach := s.inject(pid, "the service", call, "signal=WINCH:when=1+2")
		s.flood(1)
		return detach
	}
}

// jumpReader has the clock of the process that reads set.
func jumpReader(b *box) func() {
	s := b.s
	pid := s.service.Reader()
	at := slices.IndexFunc(s.boxes, func(b *box) bool { return b.served && !slices.Contains(s.struck, b) })
	if pid == 0 || at < 0 {
		s.miss()
		return nothing
	}
	by := anyJump(s.rng)
	end := s.setClock(pid, by)
	s.boxes[at].stamped(by)
	s.flood(1)
	return func() {
		if !end() {
			s.t.Fatalf("the clock of the service's reader %s was not as it had been set", strconv.Itoa(pid))
		}
		s.boxes[at].stamped(0)
	}
}
