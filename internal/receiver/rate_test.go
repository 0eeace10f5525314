package receiver

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

func TestBucket(t *testing.T) {
	begin := time.Unix(1000, 0)
	for _, tt := range []struct {
		rate syslogconf.Rate
		step time.Duration
		want int // taken in a minute by one who takes all he can at each step
	}{
		{syslogconf.Rate{N: 1, Per: time.Second}, 10 * time.Millisecond, 60},
		{syslogconf.Rate{N: 100, Per: time.Second}, time.Millisecond, 6100 - 1},
		{syslogconf.Rate{N: 100, Per: time.Second}, 10 * time.Second, 600}, // never more than N at once
		{syslogconf.Rate{N: 6, Per: time.Minute}, time.Second, 6 + 5},
		{syslogconf.Rate{N: 1000000, Per: time.Second}, time.Second, 60000000},
	} {
		var b bucket
		taken := 0
		for d := time.Duration(0); d < time.Minute; d += tt.step {
			now := begin.Add(d)
			n := b.holds(tt.rate, now)
			if n < 0 || n > tt.rate.N {
				t.Fatalf("%v: holds %d", tt.rate, n)
			}
			b.take(tt.rate, n, now)
			taken += n
		}
		if taken != tt.want {
			t.Errorf("%v every %v: %d, want %d", tt.rate, tt.step, taken, tt.want)
		}
	}
}

// Once it is empty the next look finds something, and it is not one for each
// message.
func TestBucketRefilled(t *testing.T) {
	for _, rate := range []syslogconf.Rate{{N: 1, Per: time.Second}, {N: 100, Per: time.Second}, {N: 100000, Per: time.Second}, {N: 3, Per: time.Minute}, {N: 1000000, Per: time.Minute}} {
		var b bucket
		now := time.Unix(1000, 0)
		for range 5 {
			b.take(rate, b.holds(rate, now), now)
			at := b.refilled(rate)
			if wait := at.Sub(now); wait <= 0 || wait > max(interval(rate), blockTime) {
				t.Errorf("%v: waits for %v", rate, wait)
			}
			now = at
			if n := b.holds(rate, now); n < max(1, int(blockTime/interval(rate))) {
				t.Errorf("%v: %d afterwards", rate, n)
			}
		}
	}
}

// tryFill sends until the queue is full, and returns how many messages that were.
func tryFill(t *testing.T, fd int, text string) (n int) {
	t.Helper()
	for {
		err := unix.Send(fd, []byte(text), unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if n++; n > 100000 {
			t.Fatal("nobody stops the sender")
		}
	}
}

// The sender of too much waits, nobody else does, and nothing is lost.
func TestRateBlocks(t *testing.T) {
	dir := t.TempDir()
	sock, other, log := filepath.Join(dir, "s"), filepath.Join(dir, "o"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--listen", other, "--name", "box", "--rule", "*.* -"+log, "--rate", "20/m")
	fd := dial(t, sock)
	sent := 0
	// 20 at once, then 1 in 3 s: the queue fills up, whatever its length.
	eventually(t, "the sender is stopped", func() bool {
		sent += tryFill(t, fd, "<13>flood")
		return strings.Contains(content(t, log), "more than 20/m messages: their senders wait\n")
	})
	before := strings.Count(content(t, log), "box flood\n")
	if before < 20 || before > 40 || sent < before {
		t.Errorf("%d written of %d", before, sent)
	}
	send(t, dial(t, other), "<13>other")
	await(t, log, "box other\n")
	d.signal(unix.SIGUSR1)
	await(t, log, ", senders waited ")
	d.stop()
	text := content(t, log)
	if n := strings.Count(text, "box flood\n"); n != sent {
		t.Errorf("%d sent, %d written", sent, n)
	}
	if n := strings.Count(text, "their senders wait"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// A sender that waits goes on by itself.
func TestRateGoesOn(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rate", "100/s", "--overflow", "block")
	fd := dial(t, sock)
	for i := range 150 {
		send(t, fd, fmt.Sprintf("<13>m%d.", i))
	}
	await(t, log, "m149.")
	d.stop()
	if n := strings.Count(content(t, log), "box m"); n != 150 {
		t.Errorf("%d written", n)
	}
}

// What is too much is dropped, counted, and said once for all of it.
func TestRateDrops(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rate", "10/m", "--overflow", "drop")
	fd := dial(t, sock)
	for range 500 {
		send(t, fd, "<13>flood")
	}
	d.signal(unix.SIGUSR1)
	await(t, log, " (more than 10/m)")
	d.stop()
	text := content(t, log)
	written := strings.Count(text, "box flood\n")
	if written < 10 || written > 30 {
		t.Errorf("%d written", written)
	}
	if want := fmt.Sprintf("]: %d messages lost (more than 10/m)\n", 500-written); strings.Count(text, want) != 1 || strings.Count(text, "messages lost") != 1 {
		t.Errorf("no %q in %q", want, text)
	}
}

// What is dropped is said by the clock, without another message.
func TestSayDropped(t *testing.T) {
	out := &recorder{keep: true}
	r := &receiver{router: router.Router{Routes: []router.Route{{Out: out, Rules: rules(t, "*.* -/a")}}}, epoll: -1}
	r.limits = limits{rate: syslogconf.Rate{N: 2, Per: time.Minute}, overflow: syslogconf.Drop}
	s := &socket{fd: -1}
	r.sockets = []*socket{s}
	now := time.Now()
	for i := range 5 {
		if got, want := r.admit(s, now), i < 2; got != want {
			t.Errorf("message %d: %t", i, got)
		}
	}
	if next := r.limitsNext(); !next.Equal(now.Add(dropEvery)) {
		t.Errorf("wakes up after %v", next.Sub(now))
	}
	r.stepLimits(now.Add(dropEvery - 1))
	if len(out.lines) != 0 {
		t.Errorf("too early: %q", out.lines)
	}
	r.stepLimits(now.Add(dropEvery))
	if len(out.lines) != 1 || !strings.Contains(out.lines[0], "3 messages lost (more than 2/m)") || !r.limitsNext().IsZero() {
		t.Errorf("%q, next %v", out.lines, r.limitsNext())
	}
	if r.received != 3 || r.dropped != 3 {
		t.Errorf("received %d, dropped %d", r.received, r.dropped)
	}
}

// What is dropped, and by which rate more is, goes on across upgrades.
func TestUpgradeLimits(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "user.* -"+log, "--rule", "syslog.* -"+log+".own",
		"--rate", "5/m", "--overflow", "drop")
	fd := dial(t, sock)
	for i := range 3 {
		for range 10 {
			send(t, fd, "<13>x")
		}
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log+".own", upgraded, i+1)
	}
	d.stop()
	if got := content(t, log); got != strings.Repeat("box x\n", 5) {
		t.Errorf("%q", got)
	}
	if got := content(t, log+".own"); strings.Count(got, "25 messages lost (more than 5/m)") != 1 {
		t.Errorf("%q", got)
	}
}

// No way to end a message or a connection gets more past the rate.
func TestRateOfClosedConnections(t *testing.T) {
	for name, end := range map[string]func(r *receiver, fd int) error{
		"no end": func(_ *receiver, fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) },
		"closed for others": func(r *receiver, fd int) error {
			_, err := unix.Write(fd, []byte{'\n'})
			r.evict()
			return err
		},
	} {
		log := &recorder{}
		r := newReceiver(&options{name: "box", rate: syslogconf.Rate{N: 5, Per: time.Minute}, overflow: syslogconf.Drop}, nil)
		r.router.Routes = []router.Route{{Out: log, Rules: rules(t, "user.* -/m")}}
		path := filepath.Join(t.TempDir(), "s")
		s, err := listen(path, unix.SOCK_STREAM)
		if err != nil {
			t.Fatal(err)
		}
		if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		r.sockets = []*socket{s}
		if err := r.watchSocket(s); err != nil {
			t.Fatal(err)
		}
		const sent = 50
		for range sent {
			fd := dialStream(t, path)
			send(t, fd, "<13>x")
			r.accept(s, -1)
			if err := end(r, fd); err != nil {
				t.Fatal(err)
			}
			for len(r.streams.open) > 0 {
				r.read(r.streams.oldest)
			}
		}
		if log.count < 5 || log.count > 10 || r.received != sent || r.dropped != sent-uint64(log.count) {
			t.Errorf("%s: %d written, %d received, %d dropped", name, log.count, r.received, r.dropped)
		}
		r.close()
	}
}
