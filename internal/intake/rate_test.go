package intake

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// After the bucket is empty, the next check finds several messages' worth, not one.
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

// Dropped messages are reported after a time, without another message.
func TestSayDropped(t *testing.T) {
	b := newBench(t, "2/m", syslogconf.Drop)
	s := &Socket{FD: -1}
	now := time.Now()
	for i := range 5 {
		if got, want := b.admit(s, now), i < 2; got != want {
			t.Errorf("message %d: %t", i, got)
		}
	}
	b.step(now.Add(dropEvery - 1))
	if len(b.got.said) != 0 || b.limits.sayAt != now.Add(dropEvery) {
		t.Errorf("too early: %q, then at %v", b.got.said, b.limits.sayAt)
	}
	b.step(now.Add(dropEvery))
	if len(b.got.said) != 1 || !strings.Contains(b.got.said[0], "3 messages lost (more than 2/m)") || !b.limits.sayAt.IsZero() {
		t.Errorf("%q, next %v", b.got.said, b.limits.sayAt)
	}
	if b.Dropped != 3 {
		t.Errorf("dropped %d", b.Dropped)
	}
}

// No way of ending a message or a connection evades the rate.
func TestRateOfClosedConnections(t *testing.T) {
	for name, end := range map[string]func(b *bench, fd int){
		"no end":            func(b *bench, fd int) { b.must(unix.Shutdown(fd, unix.SHUT_WR)) },
		"closed for others": func(b *bench, fd int) { b.send(fd, "\n"); b.evict() },
	} {
		b := newBench(t, "5/m", syslogconf.Drop)
		path := b.listen(unix.SOCK_STREAM)
		const sent = 50
		for range sent {
			fd := b.dial(path, unix.SOCK_STREAM)
			b.send(fd, "<13>x")
			b.accept(b.sockets[0], -1)
			end(b, fd)
			for len(b.streams.open) > 0 {
				b.read(b.streams.oldest)
			}
		}
		if n := len(b.got.texts); n < 5 || n > 10 || b.Received != sent || b.Dropped != sent-uint64(n) {
			t.Errorf("%s: %d taken, %+v", name, n, b.Counts)
		}
	}
}

// A client that exceeds the rate and closes its connection is delayed only once.
func TestRateOfGoneConnections(t *testing.T) {
	b := newBench(t, "1/m", syslogconf.Block)
	fd := b.dial(b.listen(unix.SOCK_STREAM), unix.SOCK_STREAM)
	b.send(fd, "a\n")
	b.want("a")
	b.send(fd, "b\n")
	b.must(unix.Shutdown(fd, unix.SHUT_RDWR))
	for range 20 {
		b.must(b.loop.RunOnce())
	}
	if len(b.limits.waiting) != 1 || b.Throttled != 1 {
		t.Errorf("%d wait, throttled %d times", len(b.limits.waiting), b.Throttled)
	}
}

// Senders wait while an output cannot keep up, on all kinds of sockets, unless --overflow is
// drop.
func TestBusy(t *testing.T) {
	for _, overflow := range []syslogconf.Overflow{syslogconf.Block, syslogconf.Drop} {
		b := newBench(t, "", overflow)
		datagram, stream := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM), b.dial(b.listen(unix.SOCK_STREAM), unix.SOCK_STREAM)
		b.got.busy = time.Now().Add(100 * time.Millisecond)
		b.send(datagram, "<13>a: 1")
		b.send(stream, "<13>a: 2\n")
		b.run(2)
		if waited := !time.Now().Before(b.got.busy); waited != (overflow == syslogconf.Block) || waited != (b.Throttled > 0) {
			t.Errorf("%s: they waited: %v, %d times", overflow, waited, b.Throttled)
		}
	}
}
