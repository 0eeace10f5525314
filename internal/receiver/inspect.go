package receiver

import (
	"errors"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/names"
	"devlog/internal/syslog"
)

// state is what /dev/log is in.
type state int

const (
	right   state = iota // it leads here, or where it led when it was repaired
	unknown              // that cannot be said
	wrong
	vacant // it leads to where another daemon listened, and nobody does now
)

// mark tells one /dev/log from another.
type mark struct {
	id   fileID
	text string // of a link
}

// devLog says what is at /dev/log; zero if nothing is.
func (k *keeper) devLog() (m mark) {
	dev, err := k.openDev()
	if err != nil {
		return m
	}
	defer unix.Close(dev)
	p := place{dir: dev, name: names.Log}
	m.id, _ = p.lookup()
	var text [unix.PathMax]byte
	if n, err := unix.Readlinkat(dev, names.Log, text[:]); err == nil {
		m.text = string(text[:n])
	}
	return m
}

// inspect says which state /dev/log is in, and gives up a socket of which
// another daemon has taken the name.
func (r *receiver) inspect() state {
	k := r.keeper
	for _, s := range slices.Clone(r.sockets) {
		if r.lost(s) {
			r.stepAside(s)
			r.arm() // its name matters no more
		}
	}
	id, err := k.resolve()
	if err == nil && r.owns(id) {
		k.text = k.devLog().text
		k.aside, k.taken = false, fileID{}
		return right
	}
	if len(r.sockets) == 0 || k.aside {
		now := k.devLog()
		switch {
		case k.text == "" && k.taken == fileID{}:
			return unknown
		case now.text != k.text || k.text == "" && now.id != k.taken:
			return wrong
		case k.aside && k.isVacant():
			return vacant
		}
		return right
	}
	if errors.Is(err, dirfd.ErrNoOpenat2) {
		return unknown
	}
	return wrong
}

// resolve says which file /dev/log leads to in the container.
func (k *keeper) resolve() (fileID, error) {
	fd, err := dirfd.OpenInRoot(int(k.root.Fd()), names.LogPath, 0)
	if err != nil {
		return fileID{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, err
	}
	return idOf(&st), nil
}

func (r *receiver) owns(id fileID) bool {
	return id != (fileID{}) && slices.ContainsFunc(r.sockets, func(s *socket) bool { return s.id == id })
}

// lost reports whether another daemon listens where the socket did.
func (r *receiver) lost(s *socket) bool {
	if s.at == nil {
		return false
	}
	id, mode := s.at.lookup()
	if mode != unix.S_IFSOCK || r.owns(id) {
		return false
	}
	fd, err := unix.Openat(s.at.dir, s.at.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
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

// retire stops receiving from a socket.
func (r *receiver) retire(s *socket) {
	if err := r.drainSocket(s); err != nil {
		r.say(syslog.Warning, "cannot read the last messages of a socket: "+err.Error())
	}
	r.sockets = slices.DeleteFunc(r.sockets, func(o *socket) bool { return o == s })
	// Another process may still have it: closing alone would not end the events.
	_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, s.fd, nil)
	_ = unix.Close(s.fd)
}

// tell passes a message by the receiver itself to the container's own daemon,
// and reports whether that has taken it: a keeper without sockets has no outputs.
func (k *keeper) tell(m *syslog.Message) bool {
	fd, err := dirfd.OpenInRoot(int(k.root.Fd()), names.LogPath, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	s, err := dirfd.Connect(fd, unix.SOCK_DGRAM)
	if errors.Is(err, unix.EPROTOTYPE) {
		s, err = dirfd.Connect(fd, unix.SOCK_STREAM)
	}
	if err != nil {
		return false
	}
	defer unix.Close(s)
	alike := *m
	alike.PID = nil
	raw := syslog.AppendBody([]byte("<"+strconv.Itoa(int(m.Priority()))+">"), &alike)
	_, err = unix.SendmsgN(s, raw, nil, nil, unix.MSG_NOSIGNAL)
	return err == nil
}
