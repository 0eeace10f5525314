package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/internal/pace"
	"devlog/internal/rerun"
	"devlog/internal/rerun/reruntest"
	"devlog/internal/syslog"

	"golang.org/x/sys/unix"
)

func TestRunTime(t *testing.T) {
	b := reruntest.New(t, "bind-hang other")
	f := watching(b)
	b.Must(os.Remove(b.Dev))
	now := time.Now()
	f.look(now)
	if f.run == nil || !f.Next().Equal(now.Add(rerun.Timeout)) {
		t.Fatalf("not started until %v", f.Next())
	}
	f.Step(now.Add(rerun.Timeout - 1))
	if f.Next().IsZero() {
		t.Error("killed too early")
	}
	f.Step(now.Add(rerun.Timeout))
	if !f.Next().IsZero() {
		t.Errorf("not killed until %v", f.Next())
	}
	runOnce(b, f)
	if f.said[0] != "/dev/log cannot be repaired: the repair had not ended after 30s" {
		t.Errorf("%q", f.said)
	}
}

// Repairs that follow each other do so ever more slowly, until it was quiet.
func TestBackOff(t *testing.T) {
	b := reruntest.New(t, "claim")
	f := watching(b)
	b.Must(os.Remove(b.Dev))
	f.text = reruntest.ToLog
	var delays []time.Duration
	for range 9 {
		now := f.pause.Next()
		if f.pause.Last.IsZero() {
			now = time.Now()
		} else {
			f.look(now.Add(-1))
			if f.run != nil || !f.Next().Equal(now) && len(delays) == 0 {
				t.Fatalf("runs at once, or at %v instead of %v", f.Next(), now)
			}
		}
		f.text = reruntest.ToLog // it did nothing, as if there were no repair
		f.look(now)
		runOnce(b, f)
		delays = append(delays, f.pause.Delay)
		f.text = reruntest.ToLog
	}
	ms := time.Millisecond
	if want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, 10000 * ms, 10000 * ms}; !slices.Equal(delays, want) {
		t.Errorf("%v", delays)
	}
	f.look(f.pause.Last.Add(time.Minute + 1))
	if f.run == nil || f.pause.Delay != 0 {
		t.Errorf("not reset: %v", f.pause.Delay)
	}
	runOnce(b, f)
	if len(f.said) != 1 {
		t.Errorf("%q", f.said)
	}
	f.Step(time.Now().Add(2 * sayEvery))
	if len(f.said) != 2 || !strings.Contains(f.said[1], "repaired (10 times since ") || f.report.unsaid {
		t.Errorf("%q", f.said)
	}
}

// If another container's receiver is always faster, the next check still comes soon.
func TestBackOffIdle(t *testing.T) {
	b := reruntest.New(t, "nothing")
	f := watching(b)
	b.Must(os.Remove(b.Dev))
	now := time.Now()
	for range 8 {
		f.text = reruntest.ToLog // replaced again
		f.look(now)
		runOnce(b, f)
		now = f.pause.Next()
	}
	if f.pause.Delay != time.Second {
		t.Errorf("the delay is %v", f.pause.Delay)
	}
	f.pause.Delay = 4 * time.Second // of repairs before
	f.text = reruntest.ToLog
	f.look(f.pause.Next())
	runOnce(b, f)
	if f.pause.Delay != 4*time.Second || len(f.said) > 0 {
		t.Errorf("the delay is %v, said is %q", f.pause.Delay, f.said)
	}
}

// A watcher sees what changed before it began to watch.
func TestChangedBeforeWatching(t *testing.T) {
	for _, changed := range []bool{false, true} {
		b := reruntest.New(t, "link")
		f := starting(b)
		f.text = "target" // as without a socket
		begin := f.Next()
		if wait := time.Until(begin); f.watches.IsOpen() || wait <= 0 || wait > watchDelay {
			t.Errorf("watches %t, from %v on", f.watches.IsOpen(), wait)
		}
		b.Must(os.Symlink("target", b.Dev+".new"))
		b.Must(os.Rename(b.Dev+".new", b.Dev))
		if changed {
			b.Must(os.Remove(b.Dev))
		}
		f.Step(begin.Add(-1))
		if f.watches.IsOpen() || !f.due.At.IsZero() {
			t.Error("too early")
		}
		f.Step(begin)
		if !f.watches.IsOpen() || f.due.At.IsZero() == changed {
			t.Errorf("changed %t: it looks at %v", changed, f.due.At)
		}
	}
}

func TestNoWatches(t *testing.T) {
	b := reruntest.New(t, "nothing")
	f := watching(b)
	for range 2 {
		f.cannotWatch(unix.EMFILE, time.Now())
	}
	f.cannotWatch(unix.ENOSPC, time.Now())
	if f.clock.At.IsZero() {
		t.Error("does not look by the clock")
	}
	if len(f.said) != 2 || !strings.Contains(f.said[0], "fs.inotify.max_user_instances") {
		t.Errorf("%q", f.said)
	}
}

// A change by others during the handling of a failed repair is not mistaken for the repair's
// rollback.
func TestChangeBesideFailure(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	b.Must(os.Remove(b.Dev))
	f.readEvents()
	f.due.At, f.pause.Retries, f.run = time.Time{}, retries, &run{before: f.container.devLog()}
	f.onSay = func() { b.Must(reruntest.Relink(b.Root, "/nowhere")) }
	if f.afterRun(time.Now(), errors.New("it fails")); f.due.At.IsZero() {
		t.Error("the change is not looked at")
	}
}

// A change while the watches are renewed after a failed repair is noticed: each watch is off
// after its first event.
func TestChangeWhileArming(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	b.Must(os.Remove(b.Dev))
	f.readEvents()
	f.due.At, f.pause.Retries, f.run = time.Time{}, retries, &run{before: f.container.devLog()}
	others := 0
	f.onPoll = func() { // the watches are about to be renewed
		f.onNames = func() { // another name in the directory ends its watch
			others++
			b.Must(os.WriteFile(fmt.Sprint(b.Dev, others), nil, 0o600))
		}
		f.onPoll = func() { // and again
			f.onPoll, f.onNames = nil, nil
			b.Must(reruntest.Relink(b.Root, "/nowhere"))
		}
	}
	f.afterRun(time.Now(), errors.New("it fails"))
	if f.readEvents(); f.due.At.IsZero() && !f.watches.Changed {
		t.Error("the change is not looked at")
	}
}

// A repair in the middle of its work may finish it: it could leave the host
// without its socket's name.
func TestLetsRepairFinish(t *testing.T) {
	t.Parallel()
	b := reruntest.New(t, "bind-slow other")
	f := watching(b)
	b.Must(os.Remove(b.Dev))
	f.look(time.Now())
	b.Eventually("the repair is at work", func() bool {
		_, err := os.Stat(filepath.Join(b.Dir, "hangs"))
		return err == nil
	})
	reruntest.Note(b.Dir, "go", "on")
	f.Stop()
	if text, err := os.Readlink(b.Dev); err != nil || text != "../run/devlog/other" {
		t.Errorf("/dev/log: %q, %v", text, err)
	}
	if len(f.sockets()) != 1 {
		t.Errorf("its socket was not taken over: %d", len(f.sockets()))
	}
}

// Any number of repairs needs a bounded number of sockets. The socket that /dev/log points to
// stays.
func TestRetireOldest(t *testing.T) {
	b := reruntest.New(t, "nothing")
	f := watching(b)
	in := filepath.Dir(b.Sock)
	dir, err := unix.Open(in, unix.O_PATH|unix.O_CLOEXEC, 0)
	b.Must(err)
	for i := range 3 * maxSockets {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		b.Must(err)
		n := Name{Dir: dir, Name: fmt.Sprint("s", i), Socket: s}
		b.Must(unix.Bind(s, &unix.SockaddrUnix{Name: filepath.Join(in, n.Name)}))
		n.ID, _ = n.lookup()
		f.has = append(f.has, n)
		if i > 1 { // the second is a further socket
			b.Must(unix.Unlinkat(dir, n.Name, 0))
		}
	}
	b.Must(reruntest.Relink(b.Root, "../run/devlog/s0"))
	f.retireOldest()
	if got := f.sockets(); len(got) != maxSockets || got[0].Name != "s0" || got[1].Name != "s1" || f.inspect() != ok || len(f.said) > 0 {
		t.Errorf("%d sockets, the first are %q and %q; %q", len(got), got[0].Name, got[1].Name, f.said)
	}
}

// With a private /dev there is no inotify(7) instance: the watcher checks at growing intervals,
// and notices replacements.
func TestPrivateDev(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watchingPrivate(b)
	f.text = reruntest.ToLog // as of a watcher whose owner has no sockets
	if f.watches.IsOpen() {
		t.Error("there is an inotify instance")
	}
	now, looks := time.Now(), 0
	for end := now.Add(10 * time.Minute); now.Before(end); looks++ {
		if f.Step(now); f.run != nil {
			t.Fatal("repairs what is right")
		}
		next := f.Next()
		if d := next.Sub(now); d <= 0 || d > pace.LastLook*5/4 {
			t.Fatalf("looks in %v", d)
		}
		now = next
	}
	if looks > 70 {
		t.Errorf("%d looks in ten minutes", looks)
	}
	b.Must(os.Remove(b.Dev))
	if f.Step(f.Next()); f.run == nil {
		t.Fatal("does not repair")
	}
	runOnce(b, f)
	if f.Step(time.Now().Add(2 * sayEvery)); f.repaired != 1 || f.inspect() != ok || b.Runs() != 1 {
		t.Errorf("%d repairs, %d runs", f.repaired, b.Runs())
	}
}

// What a repair cannot change is tried again only when it changes, not at intervals.
func TestPrivateDevFails(t *testing.T) {
	b := reruntest.New(t, "fail no")
	f := watchingPrivate(b)
	f.text = reruntest.ToLog
	b.Must(os.Remove(b.Dev))
	now := time.Now()
	step := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			f.Step(now)
			for f.run != nil {
				_, _ = unix.Poll(nil, 1)
				f.Step(now)
			}
			if now = now.Add(time.Second); f.Next().After(now) {
				now = f.Next()
			}
		}
	}
	step(10 * time.Minute)
	if n := b.Runs(); n != 1+retries {
		t.Errorf("%d runs, want %d", n, 1+retries)
	}
	b.SetMode("link")
	b.Must(os.Symlink("/nowhere", b.Dev))
	if step(time.Minute); f.inspect() != ok {
		t.Error("a change is not looked at")
	}
}

// The name of a prepared host's socket is removed or replaced, while /dev/log stays. The advice
// about that does not go to the process that listens there.
func TestHostSocket(t *testing.T) {
	for _, tt := range []struct {
		mode, said string
		change     func(b *reruntest.Box, at string)
	}{
		{"claim", "somebody removed /dev/.devlog-host, the host's socket; hint: restart the host's syslog daemon",
			func(b *reruntest.Box, at string) { b.Must(os.Remove(at)) }},
		{"claim", "somebody removed /dev/.devlog-host, the host's socket; hint: restart the host's syslog daemon",
			func(b *reruntest.Box, at string) { b.Must(os.Remove(at)); b.Must(os.Mkdir(at, 0o755)) }},
		{"nothing", "somebody replaced /dev/.devlog-host, the host's socket; hint: restart the host's syslog daemon, unless you just did",
			func(b *reruntest.Box, at string) { b.BindAt(at + ".new"); b.Must(os.Rename(at+".new", at)) }},
		{"fail taken", "/dev/log cannot be repaired: taken",
			func(b *reruntest.Box, at string) { b.BindAt(at + ".new"); b.Must(os.Rename(at+".new", at)) }},
	} {
		b := reruntest.New(t, "nothing")
		at := filepath.Join(b.Root, "dev/.devlog-host")
		b.BindAt(at)
		b.Must(os.Symlink("../../dev/.devlog-host", b.Sock))
		f := watchingHost(b)
		runs := b.Runs()
		b.SetMode(tt.mode)
		lost := false
		f.onSay = func() { lost = !f.Tell(&syslog.Message{}) }
		tt.change(b, at)
		b.Eventually(tt.said, func() bool {
			f.readEvents()
			f.Step(time.Now())
			return len(f.said) > 0 && f.run == nil
		})
		if f.said[0] != tt.said || !lost {
			t.Errorf("%q, want %q; told a container %t", f.said, tt.said, !lost)
		}
		if f.Step(time.Now()); b.Runs() != runs+1 && tt.mode != "fail taken" {
			t.Errorf("%s: %d repairs, %d before", tt.said, b.Runs(), runs)
		}
	}
}

// A daemon of the host that was restarted, and whose new socket a repair has kept, is no
// attack.
func TestHostSocketKept(t *testing.T) {
	b := reruntest.New(t, "nothing")
	at := filepath.Join(b.Root, "dev/.devlog-host")
	b.BindAt(at)
	b.Must(os.Symlink("../../dev/.devlog-host", b.Sock))
	f := watchingHost(b)
	runs := b.Runs()
	b.BindAt(at + ".new")
	b.Must(os.Symlink(reruntest.ToLog, b.Dev+".new"))
	b.Must(os.Rename(at+".new", at))
	b.Must(os.Rename(b.Dev+".new", b.Dev))
	b.Eventually("a repair", func() bool {
		f.readEvents()
		f.Step(time.Now())
		return b.Runs() > runs && f.run == nil
	})
	if len(f.said) > 0 || f.container.hostChanged() {
		t.Errorf("said %q", f.said)
	}
}
