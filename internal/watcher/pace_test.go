package watcher

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"devlog/internal/pace"
	"devlog/internal/rerun/reruntest"

	"golang.org/x/sys/unix"
)

// prompt is the longest time from a change to a check, if nothing delays it.
const prompt = 50 * time.Millisecond

// noise makes a name in the directory and removes it.
func noise(b *reruntest.Box, dir string) {
	b.T.Helper()
	b.Must(os.WriteFile(filepath.Join(dir, "noise"), nil, 0o600))
	b.Must(os.Remove(filepath.Join(dir, "noise")))
}

// pending returns whether the watcher has events to read.
func pending(t *testing.T, f *fake) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.inotify), Events: unix.POLLIN}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// While /dev/log is there other names beside it are no events at all.
func TestOtherNamesUnseen(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	f.text = reruntest.ToLog // as of a watcher without a socket
	b.Listen()
	f.look(time.Now())
	f.readEvents()
	if noise(b, filepath.Dir(b.Dev)); pending(t, f) {
		t.Error("another name is an event")
	}
	b.Must(reruntest.Relink(b.Root, reruntest.ToLog))
	if !pending(t, f) {
		t.Error("a replaced /dev/log is no event")
	}
}

// steps has the watcher do what is due in the next minute of the clock, with a
// change before each step, and returns how often it looked.
func steps(f *fake, now time.Time, change func()) (looks int) {
	for end := now.Add(time.Minute); now.Before(end); {
		change()
		f.readEvents()
		f.Step(now)
		if f.due.Last.Equal(now) {
			looks++
		}
		next := f.Next()
		if next.IsZero() || next.Before(now) {
			next = now
		}
		now = next.Add(time.Millisecond)
	}
	return looks
}

// Changes without end that need no repair are looked at ever more slowly, whatever
// changes, and one that comes after a pause is looked at soon.
func TestPace(t *testing.T) {
	for name, change := range map[string]func(b *reruntest.Box){
		"names beside a socket that is gone": func(b *reruntest.Box) { noise(b, filepath.Dir(b.Sock)) },
		"the same link again":                func(b *reruntest.Box) { b.Must(reruntest.Relink(b.Root, reruntest.ToLog)) },
		"times":                              func(b *reruntest.Box) { b.Must(unix.Lutimes(b.Dev, make([]unix.Timeval, 2))) },
	} {
		t.Run(name, func(t *testing.T) {
			b := reruntest.New(t, "link")
			f := watching(b)
			f.text = f.container.devLog().text // as of a watcher without a socket
			now := time.Now()
			f.look(now)
			if n := steps(f, now, func() { change(b) }); n < 5 || n > 40 {
				t.Errorf("%d looks in a minute", n)
			}
			last := f.due.Last
			f.due.At = time.Time{}
			f.due.Schedule(last.Add(time.Second), false)
			if d := f.due.At.Sub(last); d > 16*time.Second+prompt {
				t.Errorf("looks %v after the last look", d)
			}
			f.due.At = time.Time{}
			const quiet = 8 * time.Minute
			f.due.Schedule(last.Add(quiet), false)
			if d := f.due.At.Sub(last) - quiet; d > prompt {
				t.Errorf("looks %v after a change that follows a pause", d)
			}
			if b.Runs() > 0 || !f.due.At.IsZero() && f.run != nil {
				t.Errorf("%d runs", b.Runs())
			}
		})
	}
}

// A mount is looked at soon if it changes what is at /dev/log, however many other
// names were made before.
func TestMountIsLookedAtSoon(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	now := time.Now()
	for _, changed := range []bool{false, true} {
		for range 10 {
			f.due.Slower()
		}
		f.due.Last, f.due.At, f.mounts.changed = now, time.Time{}, true
		if changed {
			f.seen = mark{}
		}
		f.noteChange(now)
		if soon := f.due.At.Sub(now) <= prompt; soon != changed {
			t.Errorf("changed %t: it looks in %v", changed, f.due.At.Sub(now))
		}
	}
	f.due.At = time.Time{}
}

// Spent processor time delays the next check. Checks and repairs both count.
func TestBudgetSpent(t *testing.T) {
	b := reruntest.New(t, "link")
	f := watching(b)
	f.text = reruntest.ToLog
	b.Must(reruntest.Relink(b.Root, "elsewhere"))
	before, now := f.budget, time.Now()
	f.look(now)
	runOnce(b, f)
	if f.budget == before {
		t.Error("a repair costs nothing")
	}
	f.budget.Spend(now, time.Hour)
	b.Must(reruntest.Relink(b.Root, "elsewhere"))
	f.look(now)
	if f.run != nil || !f.due.At.Equal(f.budget.Next()) || f.Next().After(now.Add(pace.LongestWait)) {
		t.Errorf("it looks again at %v", f.Next())
	}
	f.Step(f.budget.Next())
	if f.run == nil {
		t.Error("no repair when it is time")
	}
}
