package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
	"devlog/internal/handover"
	"devlog/internal/process"
	"devlog/internal/syslogconf"
)

// one is one of several receivers of a process, with a socket and a file of its own.
type one struct {
	*Receiver
	owner     *noOwner
	sock, log string
	metrics   string
}

// startOne starts a receiver for the container in the process. First is a pidfd of the
// container's first process.
func startOne(t *testing.T, p *process.Process, name string, first int, rule string) *one {
	t.Helper()
	dir := t.TempDir()
	o := &one{owner: &noOwner{}, sock: filepath.Join(dir, "s"), log: filepath.Join(dir, "m"), metrics: filepath.Join(dir, "prom")}
	o.Receiver = newIn(t, p, Config{
		Owner: o.owner, Name: name, Listen: []Listen{{o.sock, unix.SOCK_DGRAM}}, Metrics: o.metrics,
		Rules: func() ([]syslogconf.Rule, error) { return rules(t, rule+" -"+o.log), nil },
	})
	d := handover.NewDescription()
	d.Files.Init = first
	for _, err := range []error{o.OpenOutputs(nil), o.Take(d), o.Start()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func dial(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// Two receivers of a process work, count and end independently, also while one of them is
// flooded.
func TestTwoReceivers(t *testing.T) {
	p := newProcess(t)
	r, w, err := os.Pipe() // it says that the first container has ended
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first, err := unix.FcntlInt(r.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := startOne(t, p, "a", first, "*.*"), startOne(t, p, "b", -1, "mail.*")
	before := filetest.Open(t)
	toA, toB := dial(t, a.sock), dial(t, b.sock)
	sent := 0
	flood := func() { // as much as there is room for
		t.Helper()
		for {
			if err := unix.Send(toA, fmt.Appendf(nil, "<13>flood: %d.", sent), 0); err != nil {
				break
			}
			sent++
		}
		if err := p.Loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}
	const few = 50
	for i := range few {
		flood()
		send(t, toB, fmt.Sprintf("<22>mail: %d.", i), fmt.Sprintf("<13>other: %d.", i))
	}
	flood()
	if a.counts.Received != uint64(sent) || a.counts.Routed != uint64(sent) || b.counts.Received != 2*few || b.counts.Routed != few || b.counts.Unrouted != few {
		t.Errorf("of %d: a received %d and routed %d; of %d: b received %d, routed %d", sent, a.counts.Received, a.counts.Routed, 2*few, b.counts.Received, b.counts.Routed)
	}
	if sent < 10*few {
		t.Errorf("%d messages are no flood", sent)
	}
	for o, want := range map[*one]int{a: sent, b: few} {
		if n := strings.Count(content(t, o.log), "\n"); n != want {
			t.Errorf("%s: %d lines, want %d", o.config.Name, n, want)
		}
	}
	if text := content(t, b.log); !strings.HasPrefix(text, "b mail: 0.\n") || strings.Contains(text, "flood") {
		t.Errorf("%.100q", text)
	}
	// The first container ends while messages are queued.
	for i := range 5 {
		if err := unix.Send(toA, fmt.Appendf(nil, "<13>last: %d.", i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Loop.RunOnce(); err != nil || a.owner.ended == 0 || b.owner.ended != 0 {
		t.Fatalf("%v, ended %d and %d", err, a.owner.ended, b.owner.ended)
	}
	if err := a.End(); err != nil {
		t.Fatal(err)
	}
	if next := a.Rest(time.Now()); !next.IsZero() {
		t.Errorf("something is left until %v", next)
	}
	a.Soon() // an event of the same round
	a.Close()
	if _, err := os.Lstat(a.sock); err == nil {
		t.Error("its socket is left")
	}
	if text := content(t, a.log); strings.Count(text, "a last: ") != 5 {
		t.Errorf("what was queued is lost: %q", text[max(0, len(text)-200):])
	}
	if unix.Send(toA, []byte("<13>late"), 0) == nil {
		t.Error("it takes messages after its end")
	}
	// The other one goes on.
	send(t, toB, "<22>mail: after the end")
	for range 2 {
		if err := p.Loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}
	if text := content(t, b.log); !strings.HasSuffix(text, "b mail: after the end\n") {
		t.Errorf("%q", text)
	}
	// a's socket, log and pidfd are closed, and its one client here is not. b's log is open.
	if after := filetest.Open(t); after > before+2+1-2 {
		t.Errorf("%d files open before, %d after with two clients", before, after)
	}
	if m := readMetrics(t, a.metrics)["received_messages_total"]; m != float64(sent+5) {
		t.Errorf("a's metrics have %v messages", m)
	}
	b.Reload(nil)
	b.Close()
	if m := readMetrics(t, b.metrics)["received_messages_total"]; m != 2*few+1 {
		t.Errorf("b's metrics have %v messages", m)
	}
}

// A receiver that cannot read its socket ends alone, and says why in its log.
func TestOneFails(t *testing.T) {
	p := newProcess(t)
	a, b := startOne(t, p, "a", -1, "*.*"), startOne(t, p, "b", -1, "*.*")
	toA, toB := dial(t, a.sock), dial(t, b.sock)
	// Another file gets the number of a's socket, which stays open and so is still waited for.
	fd := a.sockets[0].FD
	held, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(null, fd, unix.O_CLOEXEC)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	send(t, toA, "<13>x: unread")
	send(t, toB, "<13>x: read")
	for range 3 { // it is not called again
		if err := p.Loop.RunOnce(); err != nil {
			t.Fatalf("the loop fails: %v", err)
		}
	}
	if a.owner.ended != 1 || !errors.Is(a.owner.err, unix.ENOTSOCK) || b.owner.ended != 0 {
		t.Fatalf("ended %d times (%v) and %d", a.owner.ended, a.owner.err, b.owner.ended)
	}
	if err := a.Fail(a.owner.err); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("%v", err)
	}
	a.Rest(time.Now())
	a.Close()
	if text := content(t, a.log); !strings.Contains(text, "ends: cannot receive messages: socket operation on non-socket") {
		t.Errorf("it does not say why it ends: %q", text)
	}
	send(t, toB, "<13>x: read later")
	if err := p.Loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	if text := content(t, b.log); text != "b x: read\nb x: read later\n" {
		t.Errorf("%q", text)
	}
}
