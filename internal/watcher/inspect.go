package watcher

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
)

// state is what /dev/log is in.
type state int

const (
	ok       state = iota // it leads here, or where it led when it was repaired
	unknown               // that cannot be said
	replaced              // it leads elsewhere
	orphaned              // it leads to where another daemon listened, and nobody does now
)

// inspect says which state /dev/log is in, and gives up a socket of which another
// daemon has taken the name.
func (w *Watcher) inspect() state {
	for _, s := range w.owner.Names() {
		if w.lost(s) {
			w.yieldSocket(s)
			w.arm(time.Now()) // its name matters no more
		}
	}
	id, err := w.container.resolve()
	if err == nil && w.owns(id) {
		w.text = w.container.devLog().text
		w.yielded.is, w.yielded.to = false, file.ID{}
		return ok
	}
	if w.yielded.is || !w.receives() {
		now := w.container.devLog()
		switch {
		case w.container.hostChanged():
			return replaced
		case w.text == "" && w.yielded.to == file.ID{}:
			return unknown
		case now.text != w.text || w.text == "" && now.id != w.yielded.to:
			return replaced
		case w.yielded.is && w.container.isOrphaned():
			return orphaned
		}
		return ok
	}
	if errors.Is(err, dirfd.ErrNoOpenat2) {
		return unknown
	}
	return replaced
}

// receives says that the owner has sockets.
func (w *Watcher) receives() bool {
	return slices.ContainsFunc(w.owner.Names(), func(n Name) bool { return n.Socket >= 0 })
}

// owns says that the file is a socket of the owner's.
func (w *Watcher) owns(id file.ID) bool {
	return id != file.ID{} && slices.ContainsFunc(w.owner.Names(), func(n Name) bool { return n.Socket >= 0 && n.ID == id })
}

// lost reports whether another daemon listens where the socket did.
func (w *Watcher) lost(s Name) bool {
	if s.Socket < 0 || s.Dir < 0 {
		return false
	}
	id, mode := s.lookup()
	if mode != unix.S_IFSOCK || w.owns(id) {
		return false
	}
	fd, err := unix.Openat(s.Dir, s.Name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	to, err := dirfd.Connect(fd, unix.SOCK_DGRAM)
	if err == nil {
		_ = unix.Close(to)
	}
	// A stream socket, or one that denies writing, is another daemon's too.
	return err == nil || errors.Is(err, unix.EPROTOTYPE) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}
