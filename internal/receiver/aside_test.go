package receiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stepped returns a receiver that has stepped aside for the daemon with that
// socket.
func stepped(b *box) (r *receiver, said *sink, other int) {
	b.t.Helper()
	r, said = keeping(b)
	b.must(os.Remove(b.dev))
	r.look(time.Now())
	runOnce(b, r)
	if len(r.sockets) != 1 {
		b.t.Fatalf("%d sockets: %q", len(r.sockets), said.lines)
	}
	other = b.listen()
	r.keeper.lookAt = time.Time{} // due to the repair's own events
	r.look(time.Now())
	if k := r.keeper; !k.aside || len(r.sockets) > 0 || !k.lookAt.IsZero() {
		b.t.Fatalf("not aside: %+v", k)
	}
	return r, said, other
}

// The end of the daemon that had taken the private socket is noticed without
// an event, within seconds.
func TestAsideComesBack(t *testing.T) {
	b := newBox(t, "bind log")
	r, said, other := stepped(b)
	k := r.keeper
	k.unsaid = false
	now := k.againAt
	if d := time.Until(now); d > asideEvery || d < asideEvery/2 {
		t.Errorf("looks in %v", d)
	}
	r.stepKeeper(now)
	if k.run != nil || !k.next().Equal(now.Add(asideEvery)) {
		t.Errorf("not left alone: %v", k.next())
	}
	endListener(t, other) // the socket's name stays
	now = now.Add(asideEvery)
	r.stepKeeper(now)
	if k.run != nil || !k.next().Equal(now.Add(asideWait)) {
		t.Errorf("did not wait: %v", k.next())
	}
	// It was only a restart.
	back := b.listen()
	now = now.Add(asideWait)
	r.look(now)
	if k.run != nil || !k.vacantAt.IsZero() || !k.next().Equal(now.Add(asideEvery)) {
		t.Errorf("not left alone after a restart: %v", k.next())
	}
	endListener(t, back)
	b.must(os.Remove(b.sock))
	r.look(now)
	r.stepKeeper(now.Add(asideWait))
	if k.run == nil {
		t.Fatalf("no repair: %+v", k)
	}
	runOnce(b, r)
	if k.aside || r.inspect() != right || !k.againAt.IsZero() || len(r.sockets) != 1 {
		t.Errorf("not back: %+v", k)
	}
	if last := said.lines[len(said.lines)-1]; !strings.HasSuffix(last, ": the other daemon listens no more; this receiver receives again\n") {
		t.Errorf("%q", said.lines)
	}
}

// A repair that cannot take the place again is tried once a minute at most.
func TestAsideFails(t *testing.T) {
	b := newBox(t, "bind log")
	r, said, _ := stepped(b)
	b.must(os.RemoveAll(filepath.Dir(b.sock)))
	b.mode("fail no")
	k := r.keeper
	now := time.Now().Add(time.Hour)
	r.look(now)
	before := b.runs()
	now = now.Add(asideWait)
	for range 1 + maxRetries {
		r.stepKeeper(now)
		if k.run == nil {
			t.Fatalf("no repair: %+v", k)
		}
		for end := time.Now().Add(deadline); k.run != nil && time.Now().Before(end); {
			_, _ = unix.Poll(nil, 2)
			r.stepKeeper(now)
		}
		now = now.Add(lastDelay)
	}
	for i := range 3 {
		if k.run != nil || !k.lookAt.IsZero() || k.againAt.IsZero() {
			t.Fatalf("%+v", k)
		}
		if d := k.againAt.Sub(now); i > 0 && d < asideRetry-time.Millisecond {
			t.Errorf("tried again in %v", d)
		}
		now = k.againAt.Add(time.Millisecond)
		r.stepKeeper(now)
		for end := time.Now().Add(deadline); k.run != nil && time.Now().Before(end); {
			_, _ = unix.Poll(nil, 2)
			r.stepKeeper(now)
		}
	}
	if n := b.runs() - before; n != 1+maxRetries+3 {
		t.Errorf("%d runs", n)
	}
	if n := strings.Count(strings.Join(said.lines, ""), "cannot be repaired"); n != 1 {
		t.Errorf("%q", said.lines)
	}
}

// over binds another daemon's socket in the place of /dev/log.
func (b *box) over() int {
	b.t.Helper()
	_ = os.Remove(b.dev)
	s, err := newSocket(unix.SOCK_DGRAM)
	b.must(err)
	b.t.Cleanup(func() { _ = unix.Close(s) })
	b.must(unix.Bind(s, &unix.SockaddrUnix{Name: b.dev}))
	return s
}

// A daemon that takes /dev/log itself, which is no harm in a /dev of the
// container's own: the receiver looks after it as after one that takes its
// socket's name.
func TestAsideDevLog(t *testing.T) {
	b := newBox(t, "nothing")
	r, said := keeping(b)
	k := r.keeper
	dir, err := unix.Open(filepath.Dir(b.sock), unix.O_PATH|unix.O_CLOEXEC, 0)
	b.must(err)
	ours := &socket{fd: b.listen(), at: &place{dir: dir, name: "log"}}
	ours.id, _ = ours.at.lookup()
	r.sockets = append(r.sockets, ours)
	k.lookAt = time.Time{} // due to the socket's own name
	if r.look(time.Now()); !k.next().IsZero() || r.inspect() != right {
		t.Errorf("looks at %v while all is right", k.next())
	}
	other := b.over()
	r.look(time.Now())
	b.must(os.WriteFile(b.dev+".x", nil, 0o600)) // is no event that matters
	runOnce(b, r)
	now := k.againAt
	if d := time.Until(now); !k.aside || d > asideEvery || d < asideEvery/2 || !k.lookAt.IsZero() {
		t.Fatalf("not aside, or looks in %v: %+v", d, k)
	}
	// Another socket there, which may have the same inode number, is looked at by
	// the repair, and said once.
	endListener(t, other)
	other = b.over()
	r.look(k.last.Add(lastDelay))
	runOnce(b, r)
	if r.inspect() != right || b.runs() != 2 {
		t.Errorf("not right, or %d runs: %+v", b.runs(), k)
	}
	endListener(t, other) // its name stays
	if is := r.inspect(); is != vacant {
		t.Fatalf("a dead socket: %v", is)
	}
	now = k.againAt
	r.stepKeeper(now)
	if k.run != nil || !k.next().Equal(now.Add(asideWait)) {
		t.Errorf("did not wait: %v", k.next())
	}
	b.mode("link")
	r.stepKeeper(now.Add(asideWait))
	if k.run == nil {
		t.Fatalf("no repair: %+v", k)
	}
	runOnce(b, r)
	if k.aside || r.inspect() != right || !k.againAt.IsZero() {
		t.Errorf("not back: %+v", k)
	}
	text := strings.Join(said.lines, "")
	if !strings.Contains(text, ": another daemon listens on /dev/log now; ") || !strings.HasSuffix(text, ": the other daemon listens no more; this receiver receives again\n") || len(said.lines) != 2 {
		t.Errorf("%q", said.lines)
	}
	// A name that is gone is repaired at once.
	other = b.over()
	b.mode("nothing")
	r.look(k.last.Add(lastDelay))
	runOnce(b, r)
	b.must(os.Remove(b.dev))
	if is := r.inspect(); !k.aside || is != wrong {
		t.Errorf("without a name: %v", is)
	}
	endListener(t, other)
}

// What changes while a repair finds nothing to do is looked at by another one:
// it may be somebody else's.
func TestAsideNotYet(t *testing.T) {
	b := newBox(t, "nothing")
	r, said := keeping(b)
	r.sockets = append(r.sockets, &socket{fd: b.listen()})
	b.over()
	r.keeper.lookAt = time.Time{}
	r.look(time.Now())
	b.over() // meanwhile
	runOnce(b, r)
	if k := r.keeper; k.aside || k.lookAt.IsZero() || len(said.lines) > 0 {
		t.Errorf("%+v: %q", k, said.lines)
	}
}

// With an event it comes back as soon as it is clear that it was no restart.
func TestAsideEvent(t *testing.T) {
	t.Parallel()
	b := newBox(t, "bind log")
	d := b.keep()
	other := b.listen()
	await(t, b.log, "only keeps the repair\n")
	b.must(os.Remove(b.sock))
	endListener(t, other)
	await(t, b.log, "this receiver receives again\n")
	send(t, dial(t, b.dev), "<13>x: y")
	await(t, b.log, "box x: y\n")
	if b.runs() != 1 {
		t.Errorf("%d runs", b.runs())
	}
	d.stop()
}
