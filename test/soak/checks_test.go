//go:build soak

package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// The soak finds what it looks for: each kind of harm is done once, to a host with a few
// containers.
func TestSoakFinds(t *testing.T) {
	host.NeedContainers(t, "runc", "strace")
	host.NeedDaemons(t)
	s := newSoak(t, 1)
	s.begin(4)
	s.trial = true
	b, other := s.boxes[0], s.boxes[1]
	looked := func() []string { s.looked = s.looked.Add(-lookEvery); s.look(); return s.wrongs }
	settled := func(b *box) func() []string { return func() []string { return b.settle().wrong } }
	line := func(format string, args ...any) { appendTo(t, b.log.path, fmt.Sprintf(format, args...)) }

	line("Jan  1 00:00:00 h sender: %s.0 200 .\n", other.name)
	s.finds("a message of another", looked)
	line("Jan  1 00:00:00 h sender: %s.0 10007 xxx.\n", b.name)
	s.finds("a torn line", looked)
	line("Jan  1 00:00:00 h sender: %s.0 0 .\n", b.name)
	s.finds("message 0 of n0.0 comes after", looked)
	line("half of a li\n")
	s.finds("a line that nobody sent", looked)

	line("Jan  1 00:00:00 h devlogd[1]: %d messages lost (disk full)\n", maxOwn+1)
	s.finds("its receiver has counted 3", settled(b))
	b.log.counted -= maxOwn + 1
	s.clean()

	// A receiver is killed, and the soak does not expect it.
	from, pid := soakClock(), b.mustReceiver()
	before := len(b.sender.attempts())
	s.signal("STOP", pid)
	tried := len(b.sender.attempts())
	// They are in its queue, which holds ten and may be full on a busy machine.
	s.eventually(b.name+" goes on sending", func() bool {
		n := len(b.sender.attempts())
		return n >= tried+5 || n > before+10
	})
	s.signal("KILL", pid)
	host.WaitDead(t, s.h, pid)
	host.Eventually(t, "sends fail", func() bool {
		all := b.sender.attempts()
		return slices.ContainsFunc(all[tried:], func(a attempt) bool { return a.errno != 0 })
	})
	s.finds("the receiver of n0 has ended, and nobody has killed it", looked)
	s.finds("n0 has no receiver", s.unrest)
	b.repair()
	b.works()
	s.finds("could not be sent", settled(b))
	b.downs = append(b.downs, span{from, soakClock()})
	s.finds("messages are lost", settled(b))
	b.losses = append(b.losses, &loss{why: "a kill", from: from, to: soakClock(), bound: 1})
	s.finds("1 and 0 bytes at most are allowed", settled(b))
	b.losses[len(b.losses)-1].bound = maxLost()
	s.clean()

	// A settled message of the container, also in the host's log.
	for n := b.sender.done - 1; ; n-- {
		if b.log.seen[b.sender.id].has(n) {
			s.h.Must("logger", "--tag", "sender", fmt.Sprintf("%s %d %s.", b.sender.id, n, strings.Repeat("x", n%200)))
			break
		}
	}
	s.finds("is in two logs", looked)
	// And one that is not settled yet.
	b.works()
	n := b.log.seen[b.sender.id].last()
	s.h.Must("logger", "--tag", "sender", fmt.Sprintf("%s %d %s.", b.sender.id, n, strings.Repeat("x", n%200)))
	s.finds("is in the host's log", func() []string { b.log.scan(); s.host.log.scan(); return b.settle().wrong })
	s.host.log.seen[b.sender.id] = nil
	s.clean()

	from = soakClock()
	s.finds("the host cannot log", func() []string { host.RemoveLog(t, s.h); return looked() })
	s.waitRepaired()
	s.spans = append(s.spans, span{from, soakClock()})
	s.clean()
	s.host.works()
	last := len(s.host.log.seen[s.host.sender.id]) - 1
	was := s.host.log.seen[s.host.sender.id]
	s.host.log.seen[s.host.sender.id] = slices.Delete(slices.Clone(was), last, last+1)
	s.finds("1 messages are lost", settled(s.host))
	lost := was[last]
	s.host.log.seen[s.host.sender.id] = slices.Insert(s.host.log.seen[s.host.sender.id], last, lost)
	s.clean()

	fds := b.fds
	b.fds = slices.DeleteFunc(slices.Clone(fds), func(fd string) bool { return strings.HasPrefix(fd, "/var/log") })
	s.finds("the receiver of n0 has open", s.unrest)
	b.fds = fds
	s.clean()

	s.h.Must("mount", "-n", "-t", "tmpfs", "left", "/mnt")
	s.finds("tmpfs left", s.unrest)
	s.h.Must("umount", "-n", "/mnt")
	s.clean()

	receiver := filepath.Join(s.bin, "devlogd")
	for want, name := range map[string]string{"2 receivers of n1 run": "n1", "a receiver of z runs, which is no container": "z"} {
		end := s.startOther(receiver, "--listen", "/run/"+name, "--rule", "*.* /run/messages", "--name", name)
		s.finds(want, s.runs)
		end()
		s.h.Must("rm", "-f", "/run/"+name, "/run/messages")
		s.clean()
	}
	end := s.startOther("bash", "-c", "exec -a devlog-hook sleep 1000")
	s.finds("this still runs", s.unrest)
	end()
	s.clean()

	s.findsOfService(looked, settled)

	host.Check(t, os.WriteFile(s.h.Path("/run/left"), nil, 0o600))
	if !slices.ContainsFunc(host.Tree(s.h), func(line string) bool { return strings.HasSuffix(line, " /run/left") }) {
		t.Error("a file that is left would not be found")
	}
	host.Check(t, os.Remove(s.h.Path("/run/left")))

	s.trial, s.wrongs = false, nil
	s.finish()
	s.leave()
}

// findsOfService does the harm that the host's service can come to, which has the last container.
func (s *soak) findsOfService(looked func() []string, settled func(*box) func() []string) {
	b := s.boxes[len(s.boxes)-1]
	appendTo(s.t, b.log.path, fmt.Sprintf("Jan  1 00:00:00 h devlogd[1]: up to %d messages lost: devlogd was killed before it had written them\n", maxBatch+1))
	s.finds("a kill that costs more than a batch", looked)
	s.clean()

	// What may be lost is no count of what is.
	s.finds("", func() []string { b.works(); return append(b.settle().wrong, "") })
	last := len(b.log.seen[b.sender.id]) - 1
	lost := b.log.seen[b.sender.id][last]
	b.sender.done, b.log.seen[b.sender.id] = lost, slices.Delete(slices.Clone(b.log.seen[b.sender.id]), last, last+1)
	s.finds("and up to 0 by kills", settled(b))
	b.log.upTo++
	s.clean()

	s.outage.begin()
	s.service.End("KILL")
	s.finds("the service has ended, and nobody has ended it", s.runs)
	s.service.Start(s.service.Keeps)
	s.whole()
	s.clean()

	b.down()
	s.h.Must(b.hook("undo")...)
	s.finds("and should have those of", s.unrest)
	b.repair()
	b.up()
	s.clean()

	use := s.serviceUse
	s.serviceUse[0].fds = slices.DeleteFunc(slices.Clone(use[0].fds), func(fd string) bool { return fd == "anon_inode:inotify" })
	s.serviceUse[1].memory = -maxGrown
	s.finds("process 0 of the service has open", s.unrest)
	s.finds("process 1 of the service has ", s.unrest)
	s.serviceUse = use
	s.clean()
}

// finds waits until the list of what is wrong contains want.
func (s *soak) finds(want string, list func() []string) {
	s.t.Helper()
	var all []string
	if !host.WaitFor(func() bool {
		all = list()
		return slices.ContainsFunc(all, func(text string) bool { return strings.Contains(text, want) })
	}) {
		s.t.Fatalf("%q is not found, only %q", want, all)
	}
	s.wrongs = nil
}

// clean waits until nothing is wrong.
func (s *soak) clean() {
	s.t.Helper()
	var all []string
	if !host.WaitFor(func() bool {
		all = slices.Concat(s.unrest(), s.runs())
		for _, b := range s.all() {
			all = append(all, b.settle().wrong...)
		}
		return len(all) == 0
	}) {
		s.t.Fatalf("still wrong: %q", all[:min(9, len(all))])
	}
	s.wrongs = nil
}

// startOther starts a process on the host that should not run there.
func (s *soak) startOther(args ...string) (end func()) {
	s.t.Helper()
	cmd := s.h.Command(context.Background(), args...)
	host.Check(s.t, cmd.Start())
	return func() {
		s.t.Helper()
		for _, p := range s.h.Processes() {
			pid, line, _ := strings.Cut(p, " ")
			if line == "devlog-hook 1000" || line == strings.Join(args, " ") {
				s.h.Do("kill", "-KILL", pid) // nsenter ends with it
			}
		}
		_ = cmd.Wait() // it was killed
	}
}

func appendTo(t *testing.T, name, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	host.Check(t, err)
	_, err = f.WriteString(text)
	host.Check(t, err)
	host.Check(t, f.Close())
}
