package watcher

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/pace"
	"devlog/internal/syslog"
	"devlog/internal/watches"
)

// watchState is the watches, and what came of them.
type watchState struct {
	*watches.Set
	off      bool      // nothing is watched, because /dev is the container's own
	begin    time.Time // when to begin to watch; zero once it does
	replaced bool      // /dev/log itself was replaced since the last check
	problem  string    // why something cannot be watched, as reported
}

func (w *Watcher) readEvents() {
	if w.watches.Read(); w.watches.Named {
		w.yielded.to = file.ID{} // another file may have this inode number now
		w.watches.replaced = true
	}
}

// arm watches the names that matter now, and removes all other watches.
func (w *Watcher) arm(now time.Time) {
	w.armMounts()
	if w.watches.off || !w.watches.begin.IsZero() {
		return
	}
	if err := w.watches.Open(); err != nil {
		w.cannotWatch(err, now)
		return
	}
	w.watches.Renew()
	problem := errors.Join(w.armDevLog(), w.armHost())
	for _, n := range w.owner.Names() {
		if n.Socket < 0 || n.Dir < 0 {
			continue
		}
		if err := w.watches.Add(n.Dir, n.Name, false); err != nil {
			problem = err
		}
	}
	if w.container.devLog().text != "" {
		// If the directory does not exist, no daemon listens in it.
		if dir, name, err := w.container.openTarget(); err == nil {
			if err := w.watches.Add(dir, name, false); err != nil {
				problem = err
			}
			_ = unix.Close(dir)
		}
	}
	w.watches.Trim()
	if problem != nil {
		w.cannotWatch(problem, now)
	} else {
		w.watches.problem = ""
	}
}

// armDevLog watches /dev/log. It keeps no directory open: the file system could then not be
// unmounted.
func (w *Watcher) armDevLog() error {
	dev, err := w.container.openDev()
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	if w.mountedLink() == nil {
		return w.watches.Add(dev, names.Log, true)
	}
	// The name that others replace is below the mount.
	under, err := w.container.openUncovered(dev)
	if err != nil {
		return w.watches.AddDir(dev, names.Log, true)
	}
	defer unix.Close(under)
	return w.watches.Add(under, names.Log, true)
}

// cannotWatch reports, once, why /dev/log is polled.
func (w *Watcher) cannotWatch(err error, now time.Time) {
	if w.clock.At.IsZero() {
		w.clock.Start(now)
	}
	text := fmt.Sprintf("cannot watch /dev/log: %v; looking at it every %.0f seconds instead", err, pace.LastLook.Seconds())
	switch {
	case errors.Is(err, unix.EMFILE):
		text += "; hint: raise fs.inotify.max_user_instances"
	case errors.Is(err, unix.ENOSPC):
		text += "; hint: raise fs.inotify.max_user_watches"
	}
	if w.watches.problem != text {
		w.watches.problem = text
		w.owner.Say(syslog.Warning, text)
	}
}
