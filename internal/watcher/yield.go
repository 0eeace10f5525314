package watcher

import (
	"cmp"
	"os"
	"path"
	"time"

	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/syslog"
)

// A container's own daemon may take our socket's name, or /dev/log, and so what is
// logged. The owner yields, and receives again once nobody listens there. A datagram
// socket's end is no event, not even for those that are connected to it: the watcher
// looks by the clock, for as long as that lasts.

const (
	// yieldedEvery is the time between two looks whether the other daemon listens.
	yieldedEvery = 3 * time.Second
	// yieldedWait is how long nobody may listen before the owner does again: a
	// daemon that restarts takes less.
	yieldedWait = 5 * time.Second
	// yieldedRetry is yieldedEvery where the owner could not receive again.
	yieldedRetry = time.Minute
)

// yielded is that another daemon receives what is logged.
type yielded struct {
	is bool
	to file.ID // the other daemon's socket, if that is at /dev/log itself
	// againAt is when to look whether it still listens, whatever happens or not;
	// zero is never. orphanedAt is since when it has not.
	againAt, orphanedAt time.Time
}

// wait returns until when to wait for the other daemon, which may only restart.
func (y *yielded) wait(now time.Time, orphaned bool) (until time.Time) {
	if !orphaned {
		y.orphanedAt = time.Time{}
		return time.Time{}
	}
	if y.orphanedAt.IsZero() {
		y.orphanedAt = now
	}
	return y.orphanedAt.Add(yieldedWait)
}

// watchYielded sets the time of the next look at the other daemon's socket.
func (w *Watcher) watchYielded(now time.Time) {
	switch {
	case !w.yielded.is:
		w.yielded.againAt = time.Time{}
	case w.pause.retries < maxRetries:
		w.yielded.againAt = now.Add(yieldedEvery)
	default:
		w.yielded.againAt = now.Add(yieldedRetry)
	}
}

// yieldSocket gives up a socket of which another daemon has the name.
func (w *Watcher) yieldSocket(s Name) {
	id, err := w.container.resolve()
	others := err == nil && id != s.ID && w.owns(id)
	where := w.container.devLog().text
	if path.Base(where) != s.Name || others {
		dir, err := os.Readlink(file.Path(s.Dir))
		if err != nil {
			dir = ""
		}
		where = path.Join(dir, s.Name)
	}
	w.owner.Retire(s.Socket)
	if others { // it was a further socket
		w.owner.Say(syslog.Notice, "another daemon listens on "+where+" now; devlogd receives nothing there")
		return
	}
	w.yielded.is = true
	w.sayYielded(where)
}

// otherDaemon is what is at /dev/log if what is sent there comes to another daemon
// and not to the owner's sockets; zero if not. To the repair that is as good.
func (w *Watcher) otherDaemon() mark {
	if !w.yielded.is && !w.receives() {
		return mark{} // the owner only has /dev/log watched
	}
	now := w.container.devLog()
	if id, err := w.container.resolve(); err != nil || w.owns(id) || w.container.isOrphaned() {
		return mark{}
	}
	return now
}

// yieldTo leaves it to the other daemon to receive. The owner's sockets stay.
func (w *Watcher) yieldTo(other mark) {
	w.yielded.to = file.ID{}
	if other.text == "" {
		w.yielded.to = other.id
	}
	if !w.yielded.is {
		w.yielded.is = true
		w.sayYielded(cmp.Or(other.text, names.LogPath))
	}
}

func (w *Watcher) sayYielded(where string) {
	w.owner.Say(syslog.Notice, "another daemon listens on "+where+" now; devlogd only watches /dev/log")
}

// isBack reports whether an owner that had yielded receives again what is sent to
// /dev/log; then it yields no more.
func (w *Watcher) isBack() bool {
	if !w.yielded.is {
		return false
	}
	id, err := w.container.resolve()
	w.yielded.is = err != nil || !w.owns(id)
	if !w.yielded.is {
		w.yielded.orphanedAt, w.yielded.to = time.Time{}, file.ID{}
	}
	return !w.yielded.is
}
