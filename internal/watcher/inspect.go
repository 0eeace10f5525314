package watcher

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
)

// state is the state of /dev/log.
type state int

const (
	ok       state = iota // it points to the Owner's socket, or where the repair pointed it
	unknown               // not known
	replaced              // it points elsewhere
	orphaned              // it points to where another daemon listened, and nobody listens now
)

// inspect returns the state of /dev/log. It gives up sockets whose name another daemon has
// taken.
func (w *Watcher) inspect() state {
	for _, s := range w.owner.Names() {
		if w.lost(s) {
			w.yieldSocket(s)
			w.arm(time.Now()) // stop watching its name
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

func (w *Watcher) receives() bool {
	return slices.ContainsFunc(w.owner.Names(), func(n Name) bool { return n.Socket >= 0 })
}

func (w *Watcher) owns(id file.ID) bool {
	return id != file.ID{} && slices.ContainsFunc(w.owner.Names(), func(n Name) bool { return n.Socket >= 0 && n.ID == id })
}

// lost returns whether another daemon listens at the socket's name.
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
	// A stream socket, or one that denies writing, belongs to another daemon too.
	return err == nil || errors.Is(err, unix.EPROTOTYPE) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
}
