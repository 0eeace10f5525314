//go:build soak

package soak

import (
	"context"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"devlog/test/host"
)

// injector makes a system call of the receiver fail, by strace; with log, only calls for its log.
func injector(call, how string, log bool) func(b *box) func() {
	return func(b *box) func() {
		detach := b.inject(call, how, log)
		b.sender.more(b.s.t, 1)
		return func() {
			detach()
			b.works()
		}
	}
}

// openFails leaves the receiver no descriptor for its log's new file.
func openFails(b *box) func() {
	detach := b.inject("openat", "error=EMFILE:when=1..2", false)
	end := rename(b, "HUP")
	return func() {
		detach()
		end()
	}
}

// repairFails leaves the receiver no descriptors for the hook that it runs.
func repairFails(b *box) func() {
	detach := b.inject("pipe2,socketpair", "error=EMFILE:when=1", false)
	end := removeSocket(b)
	return func() {
		detach()
		end()
	}
}

var attached = regexp.MustCompile(`Process [0-9]+ attached`)

// inject attaches strace to the receiver. The result detaches it.
func (b *box) inject(call, how string, log bool) (detach func()) {
	b.s.t.Helper()
	var paths []string
	if log {
		// The path on the host, and the one in the container, whose mounts strace does not see.
		paths = []string{"-P", b.dir + "/messages", "-P", "/var/log/messages"}
	}
	return b.s.inject(b.mustReceiver(), b.name, call, how, paths...)
}

// inject attaches strace to a process, which receives for who; the result detaches it.
func (s *soak) inject(pid int, who, call, how string, more ...string) (detach func()) {
	t := s.t
	t.Helper()
	args := append([]string{"strace", "-f", "-p", strconv.Itoa(pid), "-e", "trace=" + call, "-e", "inject=" + call + ":" + how}, more...)
	cmd := s.h.Command(context.Background(), args...)
	said := &lockedBuffer{}
	cmd.Stderr = said
	host.Check(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // by a signal
		close(ended)
	}()
	hasEnded := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
	signal := func(name string) {
		for _, p := range s.h.Processes() {
			if f := strings.Fields(p); filepath.Base(f[1]) == "strace" && f[4] == strconv.Itoa(pid) {
				_ = s.h.Command(context.Background(), "kill", "-"+name, f[0]).Run() // it may have ended with the receiver
			}
		}
	}
	end := func() {
		signal("INT")
		// strace waits forever for a process that is in vfork(2), whose child waits for
		// strace.
		if !host.WaitAtMost(host.Deadline/10, hasEnded) {
			s.stuck++
			signal("KILL")
			if !host.WaitFor(hasEnded) {
				t.Fatalf("strace of %d, of %s, has not ended; processes:\n%s", pid, who, s.processes())
			}
		}
	}
	t.Cleanup(func() {
		if !hasEnded() {
			end()
		}
	})
	if !s.waitFor(func() bool { return attached.MatchString(said.String()) }) {
		t.Fatalf("strace is not attached to %d: %s", pid, said)
	}
	return func() {
		s.eventually("a call of the receiver of "+who+" fails", func() bool { return injections(said.String()) > 0 })
		end()
		s.injected += injections(said.String())
		for line := range strings.Lines(said.String()) {
			if strings.Contains(line, "+++ killed") || strings.Contains(line, "+++ exited with 4") {
				t.Logf("%s: %s: %s", s.now(), who, strings.TrimSpace(line))
			}
		}
	}
}

// injections returns how many calls failed or were interrupted, according to strace.
func injections(said string) int {
	return strings.Count(said, "(INJECTED") + strings.Count(said, "--- SIGWINCH")
}
