package intake

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/syslogconf"
)

// connections returns as many connections, each with its other end.
func (b *bench) connections(n int) (all []*connection, ends []int) {
	b.Helper()
	for range n {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		b.must(err)
		b.Cleanup(func() { _ = unix.Close(pair[1]) })
		c := &connection{fd: pair[0]}
		b.streams.open[c.fd] = c
		b.streams.push(c)
		all, ends = append(all, c), append(ends, pair[1])
	}
	return all, ends
}

// After a long message, the beginning of the next one does not keep the long one's memory, nor
// that of a closed connection.
func TestStreamHoldsLittle(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	all, ends := b.connections(200)
	long := strings.Repeat("x", 60_000)
	send := func(i int, text string) {
		t.Helper()
		b.send(ends[i], text)
		b.read(all[i])
	}
	check := func(how string) {
		t.Helper()
		sum := 0
		for _, c := range all {
			sum += cap(c.rest)
		}
		if sum > len(all)*maxSpare || b.streams.held != len(all) {
			t.Errorf("%s: %d connections keep %d bytes for a byte each; %d are counted", how, len(all), sum, b.streams.held)
		}
	}
	for i := range all {
		send(i, long)
		send(i, "\ny")
	}
	check("after a long message")
	for i := range all { // the buffers that are kept for others
		send(i, long[:10_000])
		send(i, "\n")
		send(i, "y")
	}
	check("after another's")
	if len(b.got.texts) != 2*len(all) {
		t.Errorf("%d messages", len(b.got.texts))
	}
}

// The number of connections is bounded: the one that was idle longest is closed after what it
// sent was read.
func TestStreamMostConnections(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	all, ends := b.connections(1)
	first := all[0].fd
	for i := len(all); i < maxConnections; i++ { // of which nobody knows but the intake
		c := &connection{fd: -2 - i}
		b.streams.open[c.fd] = c
		b.streams.push(c)
	}
	path := b.listen(unix.SOCK_STREAM)
	b.send(ends[0], "<13>a: last")
	for range 10 {
		b.dial(path, unix.SOCK_STREAM)
	}
	b.accept(b.sockets[0], -1)
	if len(b.streams.open) != maxConnections || b.Evicted != 10 || b.streams.open[first] == all[0] {
		t.Errorf("%d are open, %d closed for others", len(b.streams.open), b.Evicted)
	}
	if len(b.got.texts) != 1 || b.got.texts[0] != "<13>a: last" {
		t.Errorf("it has sent %q", b.got.texts)
	}
}

// If incomplete messages use all memory for them, those that use the most are cut, not others.
func TestStreamHoldersAreCut(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	all, ends := b.connections(100)
	send := func(i int, text string) {
		t.Helper()
		b.send(ends[i], text)
		b.read(all[i])
	}
	n := 1
	for ; b.streams.held+60_000 <= maxHeld; n++ {
		send(n, strings.Repeat("x", 60_000))
	}
	send(n, strings.Repeat("x", maxHeld-b.streams.held))
	send(n+1, strings.Repeat("x", 60_000))
	if b.streams.held != maxHeld || b.Cut != 1 {
		t.Fatalf("%d bytes are held, %d messages cut", b.streams.held, b.Cut)
	}
	send(0, "<13>a: hel")
	send(0, "lo\n")
	if last := b.got.texts[len(b.got.texts)-1]; b.Cut != 1 || last != "<13>a: hello" {
		t.Errorf("%d are cut, the last is %.100q", b.Cut, last)
	}
}
