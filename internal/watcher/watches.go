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
	// fileMask are the events when a file loses its name: unlink(2), and rename(2) over it,
	// change its link count.
	fileMask = unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_DONT_FOLLOW | unix.IN_ONESHOT
	// dirMask are the events when a name in a directory gets or loses its file.
	dirMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM |
		unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_ONLYDIR | unix.IN_ONESHOT
)

// watches are the current watches, and the events that came.
type watches struct {
	begin        time.Time // when to begin to watch; zero once it does
	fd           int       // inotify(7) instance; -1 for none
	list, before []watched
	changed      bool   // an event came
	named        bool   // an event of /dev/log itself came
	problem      string // why something cannot be watched, as reported
}

// watched is a watched file that has one of the names or, if it cannot be watched, the
// directory of the name. inotify(7) watches files, not paths, so it also sees changes in other
// mount namespaces. Every watch reports one event. Then the Watcher checks, and watches again,
// at its own pace: names that change all the time do not keep it busy.
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

// add watches the file that has the name. Without such a file it watches the directory.
func (w *watches) add(dir int, name string, devLog bool) error {
	at := file.Path(dir)
	err := w.watch(at+"/"+name, "", fileMask, devLog)
	if err == nil {
		return nil
	}
	// Other names in the directory cause events too, but there is no other way.
	if err := w.watch(at, name, dirMask, devLog); err != nil {
		return err
	}
	if errors.Is(err, unix.ENOENT) {
		_ = w.watch(at+"/"+name, "", fileMask, devLog) // it may exist by now
	}
	return nil
}

func (w *watches) watch(path, name string, mask uint32, devLog bool) error {
	wd, err := unix.InotifyAddWatch(w.fd, path, mask) // the same watch descriptor for the same file
	if err == nil {
		w.list = append(w.list, watched{wd, name, devLog})
	}
	return err
}

// trim removes watches that are no longer in the list.
func (w *watches) trim() {
	for _, old := range w.before {
		if !slices.ContainsFunc(w.list, func(n watched) bool { return n.wd == old.wd }) {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(old.wd)) // it may be gone with its file
		}
	}
}

// read reads the events.
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

// note handles events in the format of inotify(7).
func (w *watches) note(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events)))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := min(binary.NativeEndian.Uint32(events[12:]), uint32(len(events)-unix.SizeofInotifyEvent))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:][:size])
		events = events[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_IGNORED != 0 { // a watch ended; its last event came before
			continue
		}
		w.changed = true
		n := watched{wd, name, true}
		// The event may come from a watch of before the renewal.
		w.named = w.named || mask&unix.IN_Q_OVERFLOW != 0 || slices.Contains(w.list, n) || slices.Contains(w.before, n)
	}
}

// readEvents reads the events about the names.
func (w *Watcher) readEvents() {
	if w.watches.read(); w.watches.named {
		w.yielded.to = file.ID{} // another file may have this inode number now
	}
}

// arm watches the names that matter now, and removes all other watches.
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
		// If the directory does not exist, no daemon listens in it.
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

// armDevLog watches /dev/log. It keeps no directory open: the file system could then not be
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
	// The name that others replace is below the mount.
	under, err := w.container.openUncovered(dev)
	if err != nil {
		return w.watches.watch(file.Path(dev), names.Log, dirMask, true)
	}
	defer unix.Close(under)
	return w.watches.add(under, names.Log, true)
}

// cannotWatch reports, once, why /dev/log is polled.
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
