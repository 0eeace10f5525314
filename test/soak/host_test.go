//go:build soak

package soak

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"devlog/test/host"
)

// hostFaults are those of the host, of which all containers know.
var hostFaults = []fault{
	{name: "/dev/log removed", begin: func(b *box) func() { return replaced(b, func() { host.RemoveLog(b.s.t, b.s.h) }) }},
	{name: "/dev/log dangling", begin: func(b *box) func() { return replaced(b, func() { host.LinkLog(b.s.t, b.s.h, "/run/elsewhere/log") }) }},
	{name: "/dev/log stale", begin: func(b *box) func() { return replaced(b, func() { host.StaleLog(b.s.t, b.s.h) }) }},
	{name: "/dev/log removed, its repair killed", begin: killRepair},
	{name: "daemon restarted", begin: restartDaemon},
	{name: "daemon killed", begin: killDaemon},
	{name: "keeper killed", begin: killKeeper},
	{name: "clocks jump, /dev/log removed", begin: jumpAll},
}

// replaced has /dev/log replaced, and waits until it is repaired.
func replaced(b *box, replace func()) func() {
	s := b.s
	over := s.open()
	replace()
	return func() {
		s.waitRepaired()
		over()
	}
}

// never is the time of what is not over.
const never = 1<<63 - 1

// open begins a time in which /dev/log is not what it should be.
func (s *soak) open() (over func()) {
	i := len(s.spans)
	s.spans = append(s.spans, span{soakClock(), never})
	return func() { s.spans[i].to = soakClock() }
}

// waitRepaired waits until /dev/log is a link for everybody, and leads the host to its
// daemon.
func (s *soak) waitRepaired() {
	s.t.Helper()
	s.eventually("/dev/log is repaired", func() bool {
		to, err := os.Readlink(s.h.Path("/dev/log"))
		return err == nil && to == "/run/devlog/log"
	})
	s.host.works()
}

// killRepair kills what runs to repair /dev/log, if there is anything when it
// looks.
func killRepair(b *box) func() {
	s := b.s
	return replaced(b, func() {
		killed := false
		for tries := 0; !killed && tries < 20; tries++ {
			host.RemoveLog(s.t, s.h)
			killed = s.killOneRepair()
		}
		if !killed {
			s.miss()
		}
	})
}

// killOneRepair kills one that repairs /dev/log, if it finds one before /dev/log
// is repaired.
func (s *soak) killOneRepair() (killed bool) {
	s.t.Helper()
	host.WaitFor(func() bool {
		for _, p := range s.h.Processes() {
			f := strings.Fields(p)
			if len(f) > 2 && filepath.Base(f[1]) == "devlog-hook" && f[2] == "auto-repair" {
				pid, _ := strconv.Atoi(f[0])                                  // it is a number
				killed = s.h.Do("kill", "-KILL", strconv.Itoa(pid)).Code == 0 // it may have ended
				return true
			}
		}
		_, err := os.Readlink(s.h.Path("/dev/log"))
		return err == nil // they were faster
	})
	return killed
}

// restartDaemon restarts the host's daemon. What that does with what it has not
// read is its own affair, and so is when it reads.
func restartDaemon(b *box) func() {
	return daemonEnds(b, func() { b.s.daemon.Stop() })
}

func killDaemon(b *box) func() {
	d := b.s.daemon
	return daemonEnds(b, func() {
		b.s.signal("KILL", d.Pid)
		d.Pid = 0
		<-d.Ended                                                // with an error
		_ = os.Remove(filepath.Join(filepath.Dir(d.Log), "pid")) // where there is one
	})
}

func daemonEnds(b *box, end func()) func() {
	s := b.s
	from := soakClock()
	over := s.open()
	l := &loss{why: "the restart of the host's daemon", from: from, to: never, bound: 1 << 30}
	s.host.losses = append(s.host.losses, l)
	end()
	l.to = soakClock() // what is sent from here on, and is taken, the next one reads
	return func() {
		s.daemon.Start()
		s.waitRepaired()
		over()
	}
}

// killKeeper kills the one that keeps the host prepared.
func killKeeper(b *box) func() {
	s := b.s
	s.signal("KILL", s.keeper())
	return func() { s.prepare() }
}

// prepare prepares the host for good.
func (s *soak) prepare() {
	s.t.Helper()
	s.h.Must(filepath.Join(s.bin, "devlog-hook"), "repair", "--host", "--keep")
}

// keeper is the process ID of the host's keeper.
func (s *soak) keeper() int {
	s.t.Helper()
	for _, pid := range s.h.Receivers() {
		line, err := os.ReadFile(s.h.Path("/proc/" + strconv.Itoa(pid) + "/cmdline"))
		if err == nil && bytes.HasSuffix(line, []byte("\x00--keep\x00")) {
			return pid
		}
	}
	s.t.Fatalf("the host has no keeper; processes:\n%s", s.processes())
	return 0
}

// processes is what runs, for a message.
func (s *soak) processes() string {
	var text strings.Builder
	for _, p := range s.h.Processes() {
		p, _, _ = strings.Cut(p, "\n")
		id, _, _ := strings.Cut(p, " ")
		pid, _ := strconv.Atoi(id) // it is a number
		if f := s.h.Stat(pid); f != nil {
			text.WriteString(f[0] + " child of " + f[1] + ": ")
		}
		text.WriteString(p + "\n")
	}
	return text.String()
}

// lockedBuffer is what a command that still runs has written.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
