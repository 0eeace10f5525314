//go:build soak

package soak

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// hostFaults are those of the host, which all containers notice.
var hostFaults = []fault{
	{name: "/dev/log removed", begin: func(b *box) func() { return replaced(b, func() { host.RemoveLog(b.s.t, b.s.h) }) }},
	{name: "/dev/log dangling", begin: func(b *box) func() { return replaced(b, func() { host.LinkLog(b.s.t, b.s.h, "/run/elsewhere/log") }) }},
	{name: "/dev/log stale", begin: func(b *box) func() { return replaced(b, func() { host.StaleLog(b.s.t, b.s.h) }) }},
	{name: "/dev/log removed, its repair killed", begin: killRepair},
	{name: "daemon restarted", begin: restartDaemon},
	{name: "daemon killed", begin: killDaemon},
	{name: "watcher killed", begin: killWatcher},
	{name: "clocks jump, /dev/log removed", begin: jumpAll},
}

// replaced replaces /dev/log, and waits until it is repaired.
func replaced(b *box, replace func()) func() {
	s := b.s
	over := s.open()
	replace()
	return func() {
		s.waitRepaired()
		over()
	}
}

// never is the end of what has not ended.
const never = 1<<63 - 1

// open begins a time in which /dev/log is wrong.
func (s *soak) open() (over func()) {
	i := len(s.spans)
	s.spans = append(s.spans, span{soakClock(), never})
	return func() { s.spans[i].to = soakClock() }
}

// waitRepaired waits until /dev/log is a link everywhere, which points to the daemon's socket on the
// host.
func (s *soak) waitRepaired() {
	s.t.Helper()
	s.eventually("/dev/log is repaired", func() bool {
		to, err := os.Readlink(s.h.Path("/dev/log"))
		return err == nil && to == "/run/devlog/log"
	})
	s.host.works()
}

// killRepair kills running repairs of /dev/log, if it finds any.
func killRepair(b *box) func() {
	s := b.s
	return replaced(b, func() {
		killed := false
		for tries := 0; !killed && tries < 20; tries++ {
			host.RemoveLog(s.t, s.h)
			killed = s.killHook("auto-repair", func() bool {
				_, err := os.Readlink(s.h.Path("/dev/log"))
				return err == nil // they were faster
			})
		}
		if !killed {
			s.miss()
		}
	})
}

// killHook kills a hook that runs that command, if it finds one before all is over.
func (s *soak) killHook(command string, over func() bool) (killed bool) {
	s.t.Helper()
	host.WaitFor(func() bool {
		for _, p := range s.h.Processes() {
			f := strings.Fields(p)
			if len(f) > 2 && filepath.Base(f[1]) == "devlog-hook" && f[2] == command {
				// A handle on its directory in /proc kills sooner than a program does: a repair takes milliseconds.
				fd, err := unix.Open(s.h.Path("/proc/"+f[0]), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				if err == nil {
					killed = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil // it may have ended
					_ = unix.Close(fd)
				}
				return true
			}
		}
		return over()
	})
	return killed
}

// restartDaemon restarts the host's daemon. When the daemon reads, and what it does with unread
// messages, is not tested.
func restartDaemon(b *box) func() {
	return daemonEnds(b, func() { b.s.daemon.Stop() })
}

func killDaemon(b *box) func() {
	d := b.s.daemon
	return daemonEnds(b, func() {
		b.s.signal("KILL", d.Pid)
		d.Pid = 0
		<-d.Ended                                                // with an error
		_ = os.Remove(filepath.Join(filepath.Dir(d.Log), "pid")) // some daemons have one
	})
}

func daemonEnds(b *box, end func()) func() {
	s := b.s
	from := soakClock()
	over := s.open()
	l := &loss{why: "the restart of the host's daemon", from: from, to: never, bound: 1 << 30}
	s.host.losses = append(s.host.losses, l)
	end()
	l.to = soakClock() // the next daemon reads what is accepted from here on
	return func() {
		s.daemon.Start()
		s.waitRepaired()
		over()
	}
}

// killWatcher kills the watcher of the host.
func killWatcher(b *box) func() {
	s := b.s
	s.signal("KILL", s.watcher())
	return func() { s.prepare() }
}

// prepare prepares the host, with a watcher.
func (s *soak) prepare() {
	s.t.Helper()
	s.h.Must(filepath.Join(s.bin, "devlog-hook"), "repair", "--host", "--keep")
}

// watcher is the process ID of the host's watcher.
func (s *soak) watcher() int {
	s.t.Helper()
	for _, pid := range s.h.Receivers() {
		line, err := os.ReadFile(s.h.Path("/proc/" + strconv.Itoa(pid) + "/cmdline"))
		if err == nil && bytes.HasSuffix(line, []byte("\x00--keep\x00")) {
			return pid
		}
	}
	s.t.Fatalf("the host has no watcher; processes:\n%s", s.processes())
	return 0
}

// processes returns what runs, for an error message.
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

// lockedBuffer holds the output of a command that still runs.
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
