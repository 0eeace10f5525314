//go:build soak

package soak

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// box is the host or a container, with a sender and a log.
type box struct {
	s      *soak
	name   string
	inside bool   // the receiver is in the container
	served bool   // the host's service receives
	how    string // how its sender works: keep (one connection) or again
	dir    string // the log's, on the host; each container has its own file system there
	log    *soakLog
	pid    int // of the container's first process, as the host numbers it; 0 for the host itself
	// begin starts the container, with a receiver; end ends it.
	begin, end func()
	args       func(args ...string) []string // makes a command in the box one on the host

	program string // the sender's
	sender  *sender
	senders []*sender // also earlier ones
	losses  []*loss
	downs   []span // in which a receiver may be missing
	gone    int    // how many looks in a row found no receiver
	counted int    // the settled part of log.counted
	upTo    int    // and of log.upTo
	own     int    // further ones may be its receiver's own
	fullIn  int    // the last round in which its disk was full
	total   account
	fds     []string // what a receiver had open at first
}

// sender is a process that sends numbered messages.
type sender struct {
	id    string
	in    io.WriteCloser
	ended chan struct{}
	done  int // how many of sent are settled

	mu   sync.Mutex
	sent []attempt // by number
}

// attempt is the result of sending one message. The times are before and after connecting and
// sending, in microseconds of CLOCK_MONOTONIC.
type attempt struct {
	errno                                int
	connecting, connected, sending, sent int64
}

// soakClock is the time on the senders' clock.
func soakClock() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it always exists
	return ts.Nano() / 1000
}

// startSender starts a sender in the box, after the earlier one has ended.
func (b *box) startSender(program string) {
	b.program = program
	t := b.s.t
	t.Helper()
	x := &sender{id: fmt.Sprintf("%s.%d", b.name, len(b.senders)), ended: make(chan struct{})}
	cmd := b.s.h.Command(context.Background(), b.args(program, b.how, x.id)...) // it ends when its standard input is closed, or with its container
	in, err := cmd.StdinPipe()
	host.Check(t, err)
	out, err := cmd.StdoutPipe()
	host.Check(t, err)
	host.Check(t, cmd.Start())
	x.in = in
	go func() {
		defer close(x.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var n int
			var a attempt
			if _, err := fmt.Sscan(lines.Text(), &n, &a.errno, &a.connecting, &a.connected, &a.sending, &a.sent); err != nil {
				break // a killed one has written half a line
			}
			x.mu.Lock()
			x.sent = append(x.sent, a)
			x.mu.Unlock()
		}
		_ = cmd.Wait() // it may have been killed
	}()
	b.sender, b.senders = x, append(b.senders, x)
	t.Cleanup(func() { b.endSender(x) })
}

// endSender ends a sender and waits for its last results.
func (b *box) endSender(x *sender) {
	_ = x.in.Close() // it may be closed
	select {
	case <-x.ended:
	case <-time.After(host.Deadline):
		b.s.t.Fatalf("the sender %s does not end; processes:\n%s", x.id, b.s.processes())
	}
}

// attempts returns the attempts so far.
func (x *sender) attempts() []attempt {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent[:len(x.sent):len(x.sent)]
}

// hasEnded returns whether all of the sender's results are read.
func (x *sender) hasEnded() bool {
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

// more makes the sender send thousands of messages at once.
func (x *sender) more(t *testing.T, thousands int) {
	t.Helper()
	_, err := io.WriteString(x.in, strings.Repeat("x", thousands))
	host.Check(t, err)
}

// progress waits until the sender has made n more attempts.
func (b *box) progress(n int) {
	b.s.t.Helper()
	x, from := b.sender, len(b.sender.attempts())
	b.s.eventually(b.name+" goes on sending", func() bool { return len(x.attempts()) >= from+n })
}

// works waits until a new message is in the box's log.
func (b *box) works() {
	b.s.t.Helper()
	b.worksSince(soakClock())
}

// worksSince waits until a message that was sent after that time is in the box's log.
func (b *box) worksSince(now int64) {
	b.s.t.Helper()
	x := b.sender
	if !b.s.waitFor(func() bool {
		if b.log.shows(x, now) {
			return true
		}
		if b != b.s.host && b.s.repaired() && b.s.host.log.shows(x, now) {
			// It connected to the host's daemon while that had taken /dev/log, and keeps
			// that connection until it is restarted.
			b.endSender(x)
			b.startSender(b.program)
			b.s.strayed++
			x = b.sender
		}
		return false
	}) {
		all := x.attempts()
		b.s.t.Fatalf("no message of %s comes to its log in %v; %d tried, the last: %+v; in the log: %d; processes:\n%s",
			b.name, host.Deadline, len(all), all[max(0, len(all)-1):], b.log.seen[x.id].last(), b.s.processes())
	}
}

// shows returns whether the log has a message that was sent after that time.
func (l *soakLog) shows(x *sender, after int64) bool {
	l.scan()
	all, last := x.attempts(), l.seen[x.id].last()
	return last >= 0 && last < len(all) && all[last].sending > after
}

// receiver is the process ID of the container's receiver, as the host numbers it; 0 for none.
func (b *box) receiver() int {
	b.s.t.Helper()
	found := 0
	for _, pid := range b.s.h.Receivers() {
		line, err := os.ReadFile(b.s.h.Path(fmt.Sprintf("/proc/%d/cmdline", pid)))
		if err != nil || !strings.Contains(string(line), "\x00--name\x00"+b.name+"\x00") {
			continue
		}
		if found != 0 {
			b.s.t.Fatalf("two receivers of %s: %d and %d", b.name, found, pid)
		}
		found = pid
	}
	return found
}

// writer is the process that writes the container's log, or 0.
func (b *box) writer() int {
	if b.served {
		return b.s.service.Reader()
	}
	return b.receiver()
}

// hasReceiver returns whether the container has a receiver, or the service has it.
func (b *box) hasReceiver() bool {
	b.s.t.Helper()
	if b.served {
		return slices.Contains(b.s.listed(), b.pid)
	}
	return b.receiver() != 0
}

// mustReceiver is receiver where one must run.
func (b *box) mustReceiver() int {
	b.s.t.Helper()
	pid := b.receiver()
	if pid == 0 {
		b.s.t.Fatalf("%s has no receiver; processes:\n%s", b.name, b.s.processes())
	}
	return pid
}

// signal sends a signal to a process of the host.
func (s *soak) signal(name string, pid int) {
	s.t.Helper()
	s.h.Must("kill", "-"+name, strconv.Itoa(pid))
}

// hook is a command line of devlog-hook for the container.
func (b *box) hook(command string, args ...string) []string {
	if command == "repair" {
		args = append([]string{"--name", b.name, "--rule", "*.* -/var/log/" + b.logName()}, args...)
		if !b.inside {
			args = append(args, b.receiverOption()...)
		}
	}
	if b.inside {
		return b.args(append([]string{host.HookIn, command}, args...)...)
	}
	return append([]string{filepath.Join(b.s.bin, "devlog-hook"), command, fmt.Sprintf("--pid=%d", b.pid)}, args...)
}

// receiverOption is who is to receive on the host.
func (b *box) receiverOption() []string {
	if b.served {
		return []string{"--receiver", "node"}
	}
	return []string{"--receiver", filepath.Join(b.s.bin, "devlogd")}
}

// logName is the receiver's log below /var/log.
func (b *box) logName() string {
	if b.inside {
		return "messages"
	}
	return "devlog/" + b.name + "/messages"
}

// repair repairs the box, as an administrator would who finds that nobody listens. It waits for the service
// if that is to receive.
func (b *box) repair() {
	b.s.t.Helper()
	if !b.served {
		b.s.h.Must(b.hook("repair")...)
		return
	}
	var r host.Result
	if !b.s.waitFor(func() bool {
		r = b.s.h.Do(b.hook("repair")...)
		return r.Code == 0
	}) {
		b.s.t.Fatalf("%s: repair of %s: %+v; processes:\n%s", b.s.now(), b.name, r, b.s.processes())
	}
}

// newCheapBox makes a container of namespaces.
func (s *soak) newCheapBox(name string, inside, served bool) *box {
	b := s.newBox(name, inside, served)
	var c *host.Cheap
	b.begin = func() {
		c = host.NewCheap(s.t, s.h, name, host.CheapOptions{Bin: s.bin,
			Run: "mount -n -t tmpfs -o mode=755 run run\nmount -n --bind /var/log/devlog/" + name + " var/log"})
		b.pid = c.PID
		b.repair()
		b.startSender("/opt/devlog/numbered")
	}
	b.end = func() { c.Stop() }
	b.args = func(args ...string) []string { return c.Args(args...) }
	return b
}

// newRuncBox makes a container of runc, with devlog's hook.
func (s *soak) newRuncBox(name string, served bool) *box {
	b := s.newBox(name, false, served)
	var c *host.OCI
	b.begin = func() {
		c = host.NewOCI(s.t, s.h, "runc", name, "exec sleep 100000")
		host.Check(s.t, host.Command("cp", filepath.Join(s.bin, "numbered"), filepath.Join(c.Rootfs, "bin")))
		c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
		c.Hook("prestart", append([]string{"--rule", "*.* -/var/log/" + b.logName()}, b.receiverOption()...)...)
		c.Config["hooks"].(map[string]any)["prestart"].([]any)[0].(map[string]any)["path"] = filepath.Join(s.bin, "devlog-hook")
		c.Write().Create()
		c.Start()
		_, b.pid = c.State()
		if b.served {
			b.repair() // where the service did not run at that moment
		}
		b.startSender("/bin/numbered")
	}
	b.end = func() {
		s.signal("KILL", b.pid)
		c.WaitStopped()
		s.h.Must(c.Args("delete")...)
	}
	b.args = func(args ...string) []string {
		return append([]string{"nsenter", fmt.Sprintf("--target=%d", b.pid), "--mount", "--pid", "--root", "--wd", "--"}, args...)
	}
	return b
}

func (s *soak) newBox(name string, inside, served bool) *box {
	b := &box{s: s, name: name, inside: inside, served: served, fullIn: -1, dir: "/var/log/devlog/" + name, how: []string{"keep", "again"}[len(s.boxes)%2]}
	s.boxes = append(s.boxes, b)
	s.h.Must("mkdir", "-p", b.dir)
	s.h.Must("mount", "-n", "-t", "tmpfs", "-o", "size=32m,mode=755", "log", b.dir)
	b.log = newSoakLog(b, s.h.Path(b.dir+"/messages"))
	return b
}

// links returns what a process has open.
func (s *soak) links(pid int) (list []string) {
	names, err := filepath.Glob(s.h.Path(fmt.Sprintf("/proc/%d/fd/*", pid)))
	host.Check(s.t, err)
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil { // otherwise it is closed by now
			list = append(list, to)
		}
	}
	return list
}

// descriptors returns links without numbers.
func (s *soak) descriptors(pid int) []string {
	list := s.links(pid)
	for i, to := range list {
		list[i] = anyNumber.ReplaceAllString(to, "N")
	}
	slices.Sort(list)
	return list
}

// watching returns descriptors once the process watches /dev/log, which begins after a moment.
func (s *soak) watching(pid int) (list []string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d watches", pid), func() bool {
		list = s.descriptors(pid)
		return slices.Contains(list, "anon_inode:inotify")
	})
	return list
}

// kept returns whether a receiver has only what it had open at the beginning, and sockets from
// later repairs.
func (b *box) kept(pid int) (more []string, ok bool) { return extra(b.fds, b.s.descriptors(pid)) }
