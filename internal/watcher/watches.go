package watcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/syslog"
)

const (
	// fileMask are the events by which a file loses its name: unlink(2), and
	// rename(2) over it, change its number of links.
	fileMask = unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_DONT_FOLLOW | unix.IN_ONESHOT
	// dirMask are the events by which a name in a directory gets or loses its file.
	dirMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM |
		unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_ONLYDIR | unix.IN_ONESHOT
)

// watches is what is watched, and what has happened to it.
type watches struct {
	fd           int // the inotify(7) instance; -1 if the kernel gives none
	list, before []watched
	changed      bool   // there was an event
	named        bool   // there was one of /dev/log itself
	problem      string // why something is not watched, as was said
}

// watched is a file that has a name that matters or, where that cannot be watched,
// the directory of the name. inotify(7) tells of changes in other mount namespaces
// too, for it watches files, not paths. Every watch is for one event: then the
// watcher looks, and watches again. Whoever changes names without end meets its pace.
type watched struct {
	wd     int
	name   string // in the directory; empty if it is the file
	devLog bool   // the name is /dev/log
}

// open makes the inotify(7) instance.
func (w *watches) open(owner Owner) (err error) {
	if w.fd, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return err
	}
	return owner.Poll(w.fd, unix.EPOLLIN)
}

// add watches the file that has the name or, without one, the directory.
func (w *watches) add(dir int, name string, devLog bool) error {
	at := file.Path(dir)
	err := w.watch(at+"/"+name, "", fileMask, devLog)
	if err == nil {
		return nil
	}
	// Everybody's names in the directory are events, but there is no other way.
	if err := w.watch(at, name, dirMask, devLog); err != nil {
		return err
	}
	if errors.Is(err, unix.ENOENT) {
		_ = w.watch(at+"/"+name, "", fileMask, devLog) // it may be there by now
	}
	return nil
}

func (w *watches) watch(path, name string, mask uint32, devLog bool) error {
	wd, err := unix.InotifyAddWatch(w.fd, path, mask) // the same one for the same file
	if err == nil {
		w.list = append(w.list, watched{wd, name, devLog})
	}
	return err
}

// trim ends the watches that were and are no more.
func (w *watches) trim() {
	for _, old := range w.before {
		if !slices.ContainsFunc(w.list, func(n watched) bool { return n.wd == old.wd }) {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(old.wd)) // it may have gone with its file
		}
	}
}

// read takes note of what has happened.
func (w *watches) read() {
	if w.fd < 0 {
		return
	}
	var buf [4 << 10]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		w.note(buf[:n])
	}
}

// note takes note of the events, as inotify(7) writes them.
func (w *watches) note(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events)))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := min(binary.NativeEndian.Uint32(events[12:]), uint32(len(events)-unix.SizeofInotifyEvent))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:][:size])
		events = events[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_IGNORED != 0 { // the end of a watch; the event that ended it was before
			continue
		}
		w.changed = true
		n := watched{wd, name, true}
		// An event may have come before the watches were renewed.
		w.named = w.named || mask&unix.IN_Q_OVERFLOW != 0 || slices.Contains(w.list, n) || slices.Contains(w.before, n)
	}
}

// readEvents takes note of what has happened to the names.
func (w *Watcher) readEvents() {
	if w.watches.read(); w.watches.named {
		w.yielded.to = file.ID{} // another file may have its number
	}
}

// arm watches the names that matter now, and no others.
func (w *Watcher) arm(now time.Time) {
	w.armMounts()
	if w.watches.fd < 0 {
		return
	}
	w.watches.before, w.watches.list = w.watches.list, nil
	problem := errors.Join(w.armDevLog(), w.armHost())
	for _, n := range w.owner.Names() {
		if n.Socket < 0 || n.Dir < 0 {
			continue
		}
		if err := w.watches.add(n.Dir, n.Name, false); err != nil {
			problem = err
		}
	}
	if w.container.devLog().text != "" {
		// Without the directory there is nobody listening in it either.
		if dir, name, err := w.container.openTarget(); err == nil {
			if err := w.watches.add(dir, name, false); err != nil {
				problem = err
			}
			_ = unix.Close(dir)
		}
	}
	w.watches.trim()
	if problem != nil {
		w.cannotWatch(problem, now)
	} else {
		w.watches.problem = ""
	}
}

// armDevLog watches /dev/log. No directory is kept open: its file system could not be
// unmounted.
func (w *Watcher) armDevLog() error {
	dev, err := w.container.openDev()
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	if w.mountedLink() == nil {
		return w.watches.add(dev, names.Log, true)
	}
	// What others replace is below the mount.
	under, err := w.container.openUncovered(dev)
	if err != nil {
		return w.watches.watch(file.Path(dev), names.Log, dirMask, true)
	}
	defer unix.Close(under)
	return w.watches.add(under, names.Log, true)
}

// cannotWatch says, once, why /dev/log is looked at by the clock.
func (w *Watcher) cannotWatch(err error, now time.Time) {
	if w.clock.at.IsZero() {
		w.clock.start(now)
	}
	text := fmt.Sprintf("cannot watch /dev/log, looks at it every %.0f seconds instead: %v", lastLook.Seconds(), err)
	switch {
	case errors.Is(err, unix.EMFILE):
		text += ": raise fs.inotify.max_user_instances"
	case errors.Is(err, unix.ENOSPC):
		text += ": raise fs.inotify.max_user_watches"
	}
	if w.watches.problem != text {
		w.watches.problem = text
		w.owner.Say(syslog.Warning, text)
	}
}
