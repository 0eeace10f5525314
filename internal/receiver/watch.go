package receiver

import (
	"encoding/binary"
	"errors"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/syslog"
)

const (
	devDir  = "dev"
	logName = "log"
	// watchMask are the events by which a name gets or loses its file.
	watchMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_ONLYDIR
)

// watched is a name of which every change matters. inotify(7) tells of changes
// in other mount namespaces too, for it watches directories, not paths.
type watched struct {
	wd   int
	name string
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
	add := func(dir int, name string) {
		wd, err := unix.InotifyAddWatch(k.inotify, file.Path(dir), watchMask) // the same one for the same directory
		if err != nil {
			problem = err
			return
		}
		list = append(list, watched{wd, name})
	}
	// The directory is not kept open: its file system could not be unmounted.
	if dev, err := k.openDev(); err == nil {
		add(dev, logName)
		_ = unix.Close(dev)
	} else {
		problem = err
	}
	for _, s := range r.sockets {
		if s.at != nil {
			add(s.at.dir, s.at.name)
		}
	}
	if k.devLog().text != "" {
		// Without the directory there is nobody listening in it either.
		if dir, name, err := k.openTarget(); err == nil {
			add(dir, name)
			_ = unix.Close(dir)
		}
	}
	old := k.watched
	k.watched = list
	for _, w := range old {
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

// mute stops events from waking the process up, or lets them again. What
// happens meanwhile stays to be read.
func (k *keeper) mute(on bool) {
	if k.inotify < 0 || on == k.muted {
		return
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(k.inotify)}
	if on {
		event.Events = 0
	}
	if unix.EpollCtl(k.epoll, unix.EPOLL_CTL_MOD, k.inotify, &event) == nil {
		k.muted = on
	}
}

// readEvents reads what has happened and reports whether it matters.
func (k *keeper) readEvents() (matters bool) {
	if k.inotify < 0 {
		return false
	}
	defer func() {
		if matters {
			k.taken = fileID{} // another file may have its number
		}
	}()
	var buf [4 << 10]byte
	for {
		n, err := unix.Read(k.inotify, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return matters
		}
		matters = k.matter(buf[:n]) || matters
	}
}

// matter reports whether one of the events, as inotify(7) writes them, does.
func (k *keeper) matter(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events)))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := min(binary.NativeEndian.Uint32(events[12:]), uint32(len(events)-unix.SizeofInotifyEvent))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:][:size])
		events = events[unix.SizeofInotifyEvent+size:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			return true
		case mask&(unix.IN_IGNORED|unix.IN_UNMOUNT) != 0:
			if k.watches(wd) {
				return true
			}
		case slices.Contains(k.watched, watched{wd, name}):
			return true
		}
	}
	return false
}

// openDev opens a handle on the root's /dev.
func (k *keeper) openDev() (int, error) {
	root := int(k.root.Fd())
	fd, err := openInRoot(root, devDir, unix.O_DIRECTORY)
	if errors.Is(err, errNoOpenat2) {
		fd, err = unix.Openat(root, devDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
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
		dir = devDir + "/" + dir
	}
	fd, err = openInRoot(int(k.root.Fd()), dir, unix.O_DIRECTORY)
	return fd, name, err
}

// errNoOpenat2 is that the kernel, or a filter, has no openat2(2).
var errNoOpenat2 = errors.New("no openat2")

// openInRoot opens a handle (O_PATH) on what path leads to inside root.
func openInRoot(root int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range 16 { // EAGAIN: something was renamed or mounted meanwhile
		fd, err := unix.Openat2(root, path, &how)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.E2BIG):
			return -1, errNoOpenat2
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}
