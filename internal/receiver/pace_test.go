package receiver

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// noise makes a name in the directory and removes it.
func (b *box) noise(dir string) {
	b.t.Helper()
	b.must(os.WriteFile(filepath.Join(dir, "noise"), nil, 0o600))
	b.must(os.Remove(filepath.Join(dir, "noise")))
}

// pending says whether the keeper has events to read.
func pending(t *testing.T, k *keeper) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(k.inotify), Events: unix.POLLIN}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// While /dev/log is there other names beside it are no events at all.
func TestOtherNamesUnseen(t *testing.T) {
	b := newBox(t, "link")
	r, _ := keeping(b)
	r.keeper.text = toLog // as of a keeper without a socket
	b.listen()
	r.look(time.Now())
	r.keeper.readEvents()
	if b.noise(filepath.Dir(b.dev)); pending(t, r.keeper) {
		t.Error("another name is an event")
	}
	b.must(relink(b.root, toLog))
	if !pending(t, r.keeper) {
		t.Error("a replaced /dev/log is no event")
	}
}

// steps has the keeper do what is due in the next minute of the clock, with a
// change before each step, and returns how often it looked.
func steps(r *receiver, now time.Time, change func()) (looks int) {
	k := r.keeper
	for end := now.Add(time.Minute); now.Before(end); {
		change()
		k.readEvents()
		r.stepKeeper(now)
		if k.lookedAt.Equal(now) {
			looks++
		}
		next := k.next()
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
	for name, change := range map[string]func(b *box){
		"names beside a socket that is gone": func(b *box) { b.noise(filepath.Dir(b.sock)) },
		"the same link again":                func(b *box) { b.must(relink(b.root, toLog)) },
		"times":                              func(b *box) { b.must(unix.Lutimes(b.dev, make([]unix.Timeval, 2))) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, "link")
			r, _ := keeping(b)
			k := r.keeper
			k.text = k.devLog().text // as of a keeper without a socket
			now := time.Now()
			r.look(now)
			if n := steps(r, now, func() { change(b) }); n < 5 || n > 40 {
				t.Errorf("%d looks in a minute", n)
			}
			last := k.lookedAt
			k.lookAt = time.Time{}
			k.settle(last.Add(time.Second), false)
			if d := k.lookAt.Sub(last); d > time.Second+settleFixed+settleRandom+lastPace*3/2 {
				t.Errorf("looks %v after the last look", d)
			}
			k.lookAt = time.Time{}
			k.settle(last.Add(quietPace+1), false)
			if d := k.lookAt.Sub(last) - quietPace; d > settleFixed+settleRandom+1 {
				t.Errorf("looks %v after a change that follows a pause", d)
			}
			if b.runs() > 0 || !k.lookAt.IsZero() && k.run != nil {
				t.Errorf("%d runs", b.runs())
			}
		})
	}
}

// A mount is looked at soon if it changes what is at /dev/log, however many other
// names were made before.
func TestMountIsLookedAtSoon(t *testing.T) {
	b := newBox(t, "link")
	r, _ := keeping(b)
	k := r.keeper
	now := time.Now()
	for _, changed := range []bool{false, true} {
		k.pace, k.lookedAt, k.lookAt, k.mounted = lastPace, now, time.Time{}, true
		if changed {
			k.seen = mark{}
		}
		r.noteChange(now)
		if soon := k.lookAt.Sub(now) <= settleFixed+settleRandom; soon != changed {
			t.Errorf("changed %t: it looks in %v", changed, k.lookAt.Sub(now))
		}
	}
	k.lookAt = time.Time{}
}
