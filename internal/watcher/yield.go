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

// A container's own daemon may take the socket's name, or /dev/log, and so the messages. The
// Owner yields, and receives again once nobody listens there. Closing a datagram socket causes
// no event, not even for connected senders, so the Watcher polls meanwhile.

const (
	// yieldedEvery is how often to check whether the other daemon still listens.
	yieldedEvery = 3 * time.Second
	// yieldedWait is how long the other daemon may be gone before the Owner receives again. A
	// daemon that restarts takes less.
	yieldedWait = 5 * time.Second
	// yieldedRetry replaces yieldedEvery after repairs that failed.
	yieldedRetry = time.Minute
)

type yielded struct {
	is bool
	to file.ID // the other daemon's socket, if it is at /dev/log itself
	// againAt is when to check whether it still listens, even without events; zero for never.
	// orphanedAt is when it stopped; zero if it listens.
	againAt, orphanedAt time.Time
}

// wait returns how long to wait for the other daemon, which may be restarting.
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

// watchYielded schedules the next check of the other daemon's socket.
func (w *Watcher) watchYielded(now time.Time) {
	switch {
	case !w.yielded.is:
		w.yielded.againAt = time.Time{}
	case !w.pause.Exhausted():
		w.yielded.againAt = now.Add(yieldedEvery)
	default:
		w.yielded.againAt = now.Add(yieldedRetry)
	}
}

// yieldSocket gives up a socket whose name another daemon has taken.
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

// otherDaemon returns what is at /dev/log if messages sent there reach another daemon and not
// the Owner; zero otherwise. For the repair that is a healthy state.
func (w *Watcher) otherDaemon() mark {
	if !w.yielded.is && !w.receives() {
		return mark{} // the Owner only watches
	}
	now := w.container.devLog()
	if id, err := w.container.resolve(); err != nil || w.owns(id) || w.container.isOrphaned() {
		return mark{}
	}
	return now
}

// yieldTo lets the other daemon receive. The Owner keeps its sockets.
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

// isBack returns whether an Owner that had yielded now receives what is sent to /dev/log. If
// so, it no longer yields.
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
