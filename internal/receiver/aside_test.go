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
// an event, within a minute.
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
	for range 3 {
		if k.run != nil || !k.lookAt.IsZero() || k.againAt.IsZero() {
			t.Fatalf("%+v", k)
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
