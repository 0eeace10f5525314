package receiver

import (
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/router"

	"golang.org/x/sys/unix"
)

// newTestStreams is a receiver with as many connections, each by its other end.
func newTestStreams(t *testing.T, s *recorder, n int) (r *receiver, all []*connection, ends []int) {
	t.Helper()
	r = &receiver{router: router.Router{Routes: []router.Route{{Out: s, Rules: rules(t, "*.* -/a")}}}, streams: newStreams()}
	for range n {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(pair[0]); _ = unix.Close(pair[1]) })
		c := &connection{fd: pair[0]}
		r.streams.open[c.fd] = c
		r.streams.push(c)
		all, ends = append(all, c), append(ends, pair[1])
	}
	return r, all, ends
}

// A connection that has sent a long message, and then the beginning of another,
// does not go on using the memory of the long one, nor what a closed one has left.
func TestStreamHoldsLittle(t *testing.T) {
	s := &recorder{}
	r, all, ends := newTestStreams(t, s, 200)
	long := strings.Repeat("x", 60_000)
	send := func(i int, text string) {
		t.Helper()
		write(t, ends[i], text)
		r.read(all[i])
	}
	check := func(how string) {
		t.Helper()
		sum := 0
		for _, c := range all {
			sum += cap(c.rest)
		}
		if sum > len(all)*maxSpare || r.streams.held != len(all) {
			t.Errorf("%s: %d connections keep %d bytes for a byte each; %d are counted", how, len(all), sum, r.streams.held)
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
	if s.count != 2*len(all) {
		t.Errorf("%d messages", s.count)
	}
}

// However many connect, no more are kept: the one that has been idle the longest
// goes, and what it has sent is read.
func TestStreamMostConnections(t *testing.T) {
	s := &recorder{keep: true}
	r, all, ends := newTestStreams(t, s, 1)
	for i := len(all); i < maxConnections; i++ { // of which nobody knows but the receiver
		c := &connection{fd: -2 - i}
		r.streams.open[c.fd] = c
		r.streams.push(c)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(path, unix.SOCK_STREAM)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l.fd)
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(r.epoll)
	write(t, ends[0], "<13>a: last")
	for range 10 {
		dialStream(t, path)
	}
	r.accept(l, -1)
	if len(r.streams.open) != maxConnections || r.evicted != 10 || r.streams.open[all[0].fd] == all[0] {
		t.Errorf("%d are open, %d closed for others", len(r.streams.open), r.evicted)
	}
	if len(s.lines) != 1 || s.lines[0] != "a: last\n" {
		t.Errorf("it has sent %q", s.lines)
	}
	r.drainConnections()
}

// Those who hold all the memory for incomplete messages have theirs cut, not
// others.
func TestStreamHoldersAreCut(t *testing.T) {
	s := &recorder{keep: true}
	r, all, ends := newTestStreams(t, s, 100)
	send := func(i int, text string) {
		t.Helper()
		write(t, ends[i], text)
		r.read(all[i])
	}
	n := 1
	for ; r.streams.held+60_000 <= maxHeld; n++ {
		send(n, strings.Repeat("x", 60_000))
	}
	send(n, strings.Repeat("x", maxHeld-r.streams.held))
	send(n+1, strings.Repeat("x", 60_000))
	if r.streams.held != maxHeld || r.cut != 1 {
		t.Fatalf("%d bytes are held, %d messages cut", r.streams.held, r.cut)
	}
	send(0, "<13>a: hel")
	send(0, "lo\n")
	if last := s.lines[len(s.lines)-1]; r.cut != 1 || last != "a: hello\n" {
		t.Errorf("%d are cut, the last is %.100q", r.cut, last)
	}
}

func TestReadStreamDoesNotAllocate(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &recorder{}
	r := &receiver{router: router.Router{Routes: []router.Route{{Out: s, Rules: rules(t, "*.* -/a")}, {Out: s, Rules: rules(t, "*.* -/b;JSON")}, {Out: s, Rules: rules(t, "*.* -/c;RFC5424")}}}}
	r.streams = &streams{open: map[int]*connection{}, buffer: make([]byte, slotSize)}
	c := &connection{fd: pair[0]}
	r.streams.open[pair[0]] = c
	r.streams.push(c)
	whole, half := []byte("<30>Feb  3 04:05:06 cron[12]: hello world\x00"), []byte("<30>Feb  3 04:05:06 cron[12]: hel")
	if n := testing.AllocsPerRun(200, func() {
		for _, part := range [][]byte{whole, half, whole} {
			if _, err := unix.Write(pair[1], part); err != nil {
				t.Fatal(err)
			}
			r.read(c)
		}
	}); n > 0.01 {
		t.Errorf("%v allocations", n)
	}
	if s.count != 3*2*201 {
		t.Errorf("passed on %d", s.count)
	}
}
