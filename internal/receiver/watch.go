package receiver

import (
	"encoding/binary"
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
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

// watched is a file that has a name that matters or, where that cannot be watched,
// the directory of the name. inotify(7) tells of changes in other mount namespaces
// too, for it watches files, not paths. Every watch is for one event: then the
// keeper looks, and watches again. Who changes names without end meets its pace.
type watched struct {
	wd     int
	name   string // in the directory; empty if it is the file
	devLog bool   // the name is /dev/log
}

// arm watches the names that matter now, and no others.
func (r *receiver) arm() {
	k := r.keeper
	k.armMounts()
	if k.inotify < 0 {
		return
	}
	var list []watched
	var problem error
	watch := func(path, name string, mask uint32, devLog bool) error {
		wd, err := unix.InotifyAddWatch(k.inotify, path, mask) // the same one for the same file
		if err == nil {
			list = append(list, watched{wd, name, devLog})
		}
		return err
	}
	add := func(dir int, name string, devLog bool) {
		at := file.Path(dir)
		err := watch(at+"/"+name, "", fileMask, devLog)
		if err == nil {
			return
		}
		// Everybody's names in the directory are events, but there is no other way.
		if dirErr := watch(at, name, dirMask, devLog); dirErr != nil {
			problem = dirErr
		} else if errors.Is(err, unix.ENOENT) {
			_ = watch(at+"/"+name, "", fileMask, devLog) // it may be there by now
		}
	}
	// No directory is kept open: its file system could not be unmounted.
	if dev, err := k.openDev(); err != nil {
		problem = err
	} else {
		if r.mountedLink() == nil {
			add(dev, names.Log, true)
		} else if under, err := k.openUncovered(dev); err == nil {
			add(under, names.Log, true) // others replace what is below the mount
			_ = unix.Close(under)
		} else {
			problem = watch(file.Path(dev), names.Log, dirMask, true)
		}
		_ = unix.Close(dev)
	}
	for _, s := range r.sockets {
		if s.at != nil {
			add(s.at.dir, s.at.name, false)
		}
	}
	if k.devLog().text != "" {
		// Without the directory there is nobody listening in it either.
		if dir, name, err := k.openTarget(); err == nil {
			add(dir, name, false)
			_ = unix.Close(dir)
		}
	}
	k.watchedBefore, k.watched = k.watched, list
	for _, w := range k.watchedBefore {
		if !k.watches(w.wd) {
			_, _ = unix.InotifyRmWatch(k.inotify, uint32(w.wd)) // it may have gone with its directory
		}
	}
	if problem != nil {
		r.cannotWatch(problem)
	} else {
		k.problem = ""
	}
}

func (k *keeper) watches(wd int) bool {
	return slices.ContainsFunc(k.watched, func(w watched) bool { return w.wd == wd })
}

// cannotWatch says, once, that the repair is not kept.
func (r *receiver) cannotWatch(err error) {
	text := "cannot watch /dev/log, to repair it again: " + err.Error()
	switch {
	case errors.Is(err, unix.EMFILE):
		text += ": raise fs.inotify.max_user_instances"
	case errors.Is(err, unix.ENOSPC):
		text += ": raise fs.inotify.max_user_watches"
	}
	if r.keeper.problem != text {
		r.keeper.problem = text
		r.say(syslog.Warning, text)
	}
}

// readEvents notes what has happened.
func (k *keeper) readEvents() {
	if k.inotify < 0 {
		return
	}
	var buf [4 << 10]byte
	for {
		n, err := unix.Read(k.inotify, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		k.noteEvents(buf[:n])
	}
}

// noteEvents notes what the events, as inotify(7) writes them, tell.
func (k *keeper) noteEvents(events []byte) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events)))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := min(binary.NativeEndian.Uint32(events[12:]), uint32(len(events)-unix.SizeofInotifyEvent))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:][:size])
		events = events[unix.SizeofInotifyEvent+size:]
		if mask&unix.IN_IGNORED != 0 { // the end of a watch; the event that ended it was before
			continue
		}
		k.changed = true
		w := watched{wd, name, true}
		// An event may have come before the watches were renewed.
		if mask&unix.IN_Q_OVERFLOW != 0 || slices.Contains(k.watched, w) || slices.Contains(k.watchedBefore, w) {
			k.named = true
			k.taken = fileID{} // another file may have its number
		}
	}
}

// openDev opens a handle on the root's /dev.
func (k *keeper) openDev() (int, error) {
	root := int(k.root.Fd())
	fd, err := dirfd.OpenInRoot(root, names.Dev, unix.O_DIRECTORY)
	if errors.Is(err, dirfd.ErrNoOpenat2) {
		fd, err = unix.Openat(root, names.Dev[1:], unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// openTarget opens a handle on the directory of the name that /dev/log is a
// link to.
func (k *keeper) openTarget() (fd int, name string, err error) {
	dir, name := path.Split(k.devLog().text)
	if name == "" {
		return -1, "", unix.ENOENT
	}
	if !path.IsAbs(dir) {
		dir = path.Join(names.Dev, dir)
	}
	fd, err = dirfd.OpenInRoot(int(k.root.Fd()), dir, unix.O_DIRECTORY)
	return fd, name, err
}
