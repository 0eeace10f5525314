package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/rerun/reruntest"

	"golang.org/x/sys/unix"
)

// yielding returns a watcher that has yielded to the daemon with that socket.
func yielding(b *reruntest.Box) (f *fake, other int) {
	b.T.Helper()
	f = watching(b)
	b.Must(os.Remove(b.Dev))
	f.look(time.Now())
	runOnce(b, f)
	if len(f.sockets()) != 1 {
		b.T.Fatalf("%d sockets: %q", len(f.sockets()), f.said)
	}
	other = b.Listen()
	f.due.At = time.Time{} // due to the repair's own events
	f.look(time.Now())
	if !f.yielded.is || len(f.sockets()) > 0 || !f.due.At.IsZero() {
		b.T.Fatalf("not aside: %+v", f.yielded)
	}
	return f, other
}

// The end of the daemon that had taken the private socket is noticed without
// an event, within seconds.
func TestYieldComesBack(t *testing.T) {
	for _, confined := range []bool{false, true} {
		t.Run(fmt.Sprintf("confined %t", confined), func(t *testing.T) { yieldComesBack(t, confined) })
	}
}

func yieldComesBack(t *testing.T, confined bool) {
	b := reruntest.New(t, "bind log")
	b.Confined = confined
	f, other := yielding(b)
	f.report.unsaid = false
	now := f.yielded.againAt
	if d := time.Until(now); d > yieldedEvery || d < yieldedEvery/2 {
		t.Errorf("looks in %v", d)
	}
	f.Step(now)
	if f.run != nil || !f.Next().Equal(now.Add(yieldedEvery)) {
		t.Errorf("not left alone: %v", f.Next())
	}
	endListener(t, other) // the socket's name stays
	now = now.Add(yieldedEvery)
	f.Step(now)
	if f.run != nil || !f.Next().Equal(now.Add(yieldedWait)) {
		t.Errorf("did not wait: %v", f.Next())
	}
	// It was only a restart.
	back := b.Listen()
	now = now.Add(yieldedWait)
	f.look(now)
	if f.run != nil || !f.yielded.orphanedAt.IsZero() || !f.Next().Equal(now.Add(yieldedEvery)) {
		t.Errorf("not left alone after a restart: %v", f.Next())
	}
	endListener(t, back)
	b.Must(os.Remove(b.Sock))
	f.look(now)
	f.Step(now.Add(yieldedWait))
	if f.run == nil {
		t.Fatalf("no repair: %+v", f.yielded)
	}
	runOnce(b, f)
	if f.yielded.is || f.inspect() != ok || !f.yielded.againAt.IsZero() || len(f.sockets()) != 1 {
		t.Errorf("not back: %+v", f.yielded)
	}
	if last := f.said[len(f.said)-1]; last != "the other daemon stopped listening; receiving again" {
		t.Errorf("%q", f.said)
	}
}

// A repair that cannot take the place again is tried once a minute at most.
func TestYieldFails(t *testing.T) {
	b := reruntest.New(t, "bind log")
	f, _ := yielding(b)
	b.Must(os.RemoveAll(filepath.Dir(b.Sock)))
	b.SetMode("fail no")
	now := time.Now().Add(time.Hour)
	f.look(now)
	before := b.Runs()
	now = now.Add(yieldedWait)
	for range 1 + retries {
		f.Step(now)
		if f.run == nil {
			t.Fatalf("no repair: %+v", f.yielded)
		}
		for end := time.Now().Add(deadline); f.run != nil && time.Now().Before(end); {
			_, _ = unix.Poll(nil, 2)
			f.Step(now)
		}
		now = now.Add(longestPause)
	}
	for i := range 3 {
		if f.run != nil || !f.due.At.IsZero() || f.yielded.againAt.IsZero() {
			t.Fatalf("%+v", f.yielded)
		}
		if d := f.yielded.againAt.Sub(now); i > 0 && d < yieldedRetry-time.Millisecond {
			t.Errorf("tried again in %v", d)
		}
		now = f.yielded.againAt.Add(time.Millisecond)
		f.Step(now)
		for end := time.Now().Add(deadline); f.run != nil && time.Now().Before(end); {
			_, _ = unix.Poll(nil, 2)
			f.Step(now)
		}
	}
	if n := b.Runs() - before; n != 1+retries+3 {
		t.Errorf("%d runs", n)
	}
	if n := strings.Count(strings.Join(f.said, ""), "cannot be repaired"); n != 1 {
		t.Errorf("%q", f.said)
	}
}

// over binds another daemon's socket in place of /dev/log.
func over(b *reruntest.Box) int {
	b.T.Helper()
	_ = os.Remove(b.Dev)
	return b.BindAt(b.Dev)
}

// A daemon replaces /dev/log itself in the container's own /dev, which does no harm: the watcher
// yields to it, as to one that takes its socket's name.
func TestYieldDevLog(t *testing.T) {
	b := reruntest.New(t, "nothing")
	f := watching(b)
	dir, err := unix.Open(filepath.Dir(b.Sock), unix.O_PATH|unix.O_CLOEXEC, 0)
	b.Must(err)
	ours := Name{Dir: dir, Name: "log", Socket: b.Listen()}
	ours.ID, _ = ours.lookup()
	f.has = append(f.has, ours)
	f.due.At = time.Time{} // due to the socket's own name
	if f.look(time.Now()); !f.Next().IsZero() || f.inspect() != ok {
		t.Errorf("looks at %v while all is ok", f.Next())
	}
	other := over(b)
	f.look(time.Now())
	b.Must(os.WriteFile(b.Dev+".x", nil, 0o600)) // is no event that matters
	runOnce(b, f)
	now := f.yielded.againAt
	if d := time.Until(now); !f.yielded.is || d > yieldedEvery || d < yieldedEvery/2 || !f.due.At.IsZero() {
		t.Fatalf("not aside, or looks in %v: %+v", d, f.yielded)
	}
	// Another socket there, which may have the same inode number, is looked at by
	// the repair, and reported once.
	endListener(t, other)
	other = over(b)
	f.look(f.pause.Last.Add(longestPause))
	runOnce(b, f)
	if f.inspect() != ok || b.Runs() != 2 {
		t.Errorf("not ok, or %d runs: %+v", b.Runs(), f.yielded)
	}
	endListener(t, other) // its name stays
	if is := f.inspect(); is != orphaned {
		t.Fatalf("a dead socket: %v", is)
	}
	now = f.yielded.againAt
	f.Step(now)
	if f.run != nil || !f.Next().Equal(now.Add(yieldedWait)) {
		t.Errorf("did not wait: %v", f.Next())
	}
	b.SetMode("link")
	f.Step(now.Add(yieldedWait))
	if f.run == nil {
		t.Fatalf("no repair: %+v", f.yielded)
	}
	runOnce(b, f)
	if f.yielded.is || f.inspect() != ok || !f.yielded.againAt.IsZero() {
		t.Errorf("not back: %+v", f.yielded)
	}
	text := strings.Join(f.said, "")
	if !strings.Contains(text, "another daemon listens on /dev/log now; ") || !strings.HasSuffix(text, "the other daemon stopped listening; receiving again") || len(f.said) != 2 {
		t.Errorf("%q", f.said)
	}
	// A name that is gone is repaired at once.
	other = over(b)
	b.SetMode("nothing")
	f.look(f.pause.Last.Add(longestPause))
	runOnce(b, f)
	b.Must(os.Remove(b.Dev))
	if is := f.inspect(); !f.yielded.is || is != replaced {
		t.Errorf("without a name: %v", is)
	}
	endListener(t, other)
}

// A change during a repair that finds nothing to do causes another check: others may have made
// it.
func TestYieldNotYet(t *testing.T) {
	b := reruntest.New(t, "nothing")
	f := watching(b)
	f.has = append(f.has, Name{Dir: -1, Socket: b.Listen()})
	over(b)
	f.due.At = time.Time{}
	f.look(time.Now())
	over(b) // meanwhile
	runOnce(b, f)
	if f.yielded.is || f.due.At.IsZero() || len(f.said) > 0 {
		t.Errorf("%+v: %q", f.yielded, f.said)
	}
}
