//go:build soak

package soak

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/test/host"
)

// lookEvery is the time between two checks of everything, while the test waits for something.
const lookEvery = 50 * time.Millisecond

// wrong records that an invariant does not hold, which fails the test.
func (s *soak) wrong(format string, args ...any) {
	s.wrongs = append(s.wrongs, fmt.Sprintf(format, args...))
	if !s.trial {
		s.t.Errorf("%s: "+format, append([]any{s.now()}, args...)...)
	}
}

// waitFor is host.WaitFor, and checks everything meanwhile.
func (s *soak) waitFor(done func() bool) bool {
	return host.WaitFor(func() bool {
		s.look()
		return done()
	})
}

// eventually is host.Eventually, and checks everything meanwhile.
func (s *soak) eventually(what string, done func() bool) {
	s.t.Helper()
	if !s.waitFor(done) {
		s.giveUp(what)
	}
}

// eventuallyRepaired is eventually with the time that several repairs in a row may take.
func (s *soak) eventuallyRepaired(what string, done func() bool) {
	s.t.Helper()
	for range 2 {
		if s.waitFor(done) {
			return
		}
	}
	s.giveUp(what)
}

// giveUp ends the test, and reports on the boxes with faults.
func (s *soak) giveUp(what string) {
	s.t.Helper()
	for _, b := range s.struck {
		s.t.Logf("%s said last:\n%s", b.name, strings.Join(b.log.recent[max(0, len(b.log.recent)-20):], "\n"))
	}
	s.t.Fatalf("%s: %s: not so after %v or more; processes:\n%s", s.now(), what, host.Deadline, s.processes())
}

func (s *soak) all() []*box { return append(slices.Clone(s.boxes), s.host) }

// look checks what must be true at any time: each line in each log is whole, in order and of that
// box; the host can log.
func (s *soak) look() {
	now := time.Now()
	if s.host == nil || s.host.sender == nil || now.Sub(s.looked) < lookEvery {
		return
	}
	if gap := now.Sub(s.looked); !s.looked.IsZero() && gap > s.gap {
		s.gap = gap
	}
	s.looks, s.looked = s.looks+1, now
	for _, b := range s.all() {
		b.log.scan()
	}
	s.hostLogs()
	for _, text := range s.runs() {
		s.wrong("%s", text)
	}
}

// hostLogs checks that messages on the host can be sent and arrive, whenever /dev/log is correct.
func (s *soak) hostLogs() {
	x := s.host.sender
	all, last := x.attempts(), s.host.log.seen[x.id].last()
	for n := s.tried; n < len(all); n++ {
		if a := all[n]; a.errno != 0 && !s.host.mayFail(a) {
			s.wrong("the host cannot log: message %d, %+v", n, a)
		}
	}
	s.tried = len(all)
	if n := last + 1; n < len(all) && s.repaired() {
		a, late := all[n], soakClock()-host.Deadline.Microseconds()
		if a.errno == 0 && a.sent < late && !slices.ContainsFunc(s.spans, func(w span) bool { return w.to > late }) && s.host.lossOf(a, nil) == nil {
			s.wrong("the host does not log: message %d, %+v, has not arrived for %v", n, a, host.Deadline)
		}
	}
}

// runs returns which processes of devlog are too many at any time, and which ended without being
// killed by the test.
func (s *soak) runs() (wrong []string) {
	hooks, watchers := 0, 0
	names := map[string]int{}
	processes := s.h.Processes()
	receivers := s.h.Receivers()
	for _, p := range processes {
		f := strings.Fields(p)
		pid, _ := strconv.Atoi(f[0]) // it is a number
		switch program := filepath.Base(f[1]); {
		case program == "devlog-hook":
			hooks++
		case program != "devlogd" || !slices.Contains(receivers, pid):
		case f[len(f)-1] == "--keep":
			watchers++
		default:
			if i := slices.Index(f, "--name"); i > 0 && i+1 < len(f) {
				names[f[i+1]]++
			}
		}
	}
	// Each receiver, the watcher and this test run at most one hook at a time. A hook has a child
	// while it starts a receiver.
	if most := 2 * (len(s.boxes) + 2); hooks > most {
		wrong = append(wrong, fmt.Sprintf("%d hooks run, %d at most should", hooks, most))
	}
	if watchers > 1 {
		wrong = append(wrong, fmt.Sprintf("%d watchers run", watchers))
	}
	for _, b := range s.boxes {
		n := names[b.name]
		if b.served { // see restless
			if n > 0 {
				wrong = append(wrong, "a receiver of "+b.name+" runs, which the service has")
			}
			delete(names, b.name)
			continue
		}
		if n > 1 {
			wrong = append(wrong, fmt.Sprintf("%d receivers of %s run", n, b.name))
		}
		if b.gone++; n > 0 || b.isDown() || b.sender == nil {
			b.gone = 0
		}
		// A process has no command line for a moment while it executes another program.
		if b.gone == 3 {
			wrong = append(wrong, "the receiver of "+b.name+" has ended, and nobody has killed it")
		}
		delete(names, b.name)
	}
	for name := range names {
		wrong = append(wrong, fmt.Sprintf("a receiver of %s runs, which is no container", name))
	}
	if s.service.HasEnded() {
		wrong = append(wrong, "the service has ended, and nobody has ended it")
	}
	return wrong
}

// calm waits until only the expected processes of devlog run, with only the files open that they had
// at the beginning.
func (s *soak) calm() {
	s.t.Helper()
	var wrong []string
	if !s.waitFor(func() bool {
		wrong = s.unrest()
		return len(wrong) == 0
	}) {
		for _, text := range wrong {
			s.wrong("%s", text)
		}
	}
}

func (s *soak) unrest() (wrong []string) {
	for _, b := range s.boxes {
		if b.served {
			continue
		}
		pid := b.receiver()
		if pid == 0 {
			wrong = append(wrong, b.name+" has no receiver")
			continue
		}
		if more, ok := b.kept(pid); !ok {
			wrong = append(wrong, fmt.Sprintf("the receiver of %s has open %q, and had at first only %q", b.name, more, b.fds))
		}
		if n := s.children(pid); n != 0 {
			wrong = append(wrong, fmt.Sprintf("the receiver of %s has %d children", b.name, n))
		}
	}
	wrong = append(wrong, s.restless()...)
	watcher := s.watcher()
	if more, ok := extra(s.watcherFDs, s.descriptors(watcher)); !ok {
		wrong = append(wrong, fmt.Sprintf("the watcher has open %q, and had at first only %q", more, s.watcherFDs))
	}
	if n := s.children(watcher); n != 0 {
		wrong = append(wrong, fmt.Sprintf("the watcher has %d children", n))
	}
	for _, p := range s.h.Processes() {
		if program := filepath.Base(strings.Fields(p)[1]); program == "devlog-hook" || program == "strace" {
			wrong = append(wrong, "this still runs: "+p)
		}
	}
	if text := s.left(s.mounts); text != "" {
		wrong = append(wrong, text)
	}
	return wrong
}

// children returns how many children a process of the host has, zombies included.
func (s *soak) children(of int) (n int) {
	dirs, err := filepath.Glob(s.h.Path("/proc/[0-9]*"))
	host.Check(s.t, err)
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir)) // it is a number
		if f := s.h.Stat(pid); f != nil && f[1] == strconv.Itoa(of) {
			n++
		}
	}
	return n
}

// extra returns what is open now and was not before, and whether that is allowed: sockets from
// repairs are.
func extra(was, is []string) (more []string, ok bool) {
	const sockets = 16 // the most that a receiver keeps from repairs
	was = slices.Clone(was)
	n := 0
	for _, fd := range is {
		if i := slices.Index(was, fd); i >= 0 {
			was = slices.Delete(was, i, i+1)
			continue
		}
		if more = append(more, fd); strings.HasPrefix(fd, "socket:") {
			n++
		}
	}
	return more, n < sockets && n == len(more)
}
