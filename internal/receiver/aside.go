package receiver

import (
	"cmp"
	"errors"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/syslog"
)

// A container's own daemon may take our socket's name, or /dev/log, and so
// what is logged. The receiver steps aside, and receives again once nobody
// listens there. A datagram socket's end is no event, not even for those that
// are connected to it: it is looked at by the clock, for as long as that lasts.

const (
	// asideEvery is the time between two looks whether the other daemon listens.
	asideEvery = 3 * time.Second
	// asideWait is how long nobody may listen before the receiver does again: a
	// daemon that restarts takes less.
	asideWait = 5 * time.Second
	// asideRetry is asideEvery where it could not receive again.
	asideRetry = time.Minute
)

// watchAside sets the time of the next look at another daemon's socket, if it
// has taken our place.
func (k *keeper) watchAside(now time.Time) {
	switch {
	case !k.aside:
		k.againAt = time.Time{}
	case k.retries < maxRetries:
		k.againAt = now.Add(asideEvery)
	default:
		k.againAt = now.Add(asideRetry)
	}
}

// stepAside gives up a socket of which another daemon has the name.
func (r *receiver) stepAside(s *socket) {
	k := r.keeper
	where := k.devLog().text
	if path.Base(where) != s.at.name {
		dir, err := os.Readlink(file.Path(s.at.dir))
		if err != nil {
			dir = ""
		}
		where = path.Join(dir, s.at.name)
	}
	k.aside = true
	s.at.id = fileID{} // the name is not ours to remove
	r.retire(s)
	r.sayAside(where)
}

// otherDaemons is what is at /dev/log if what is sent there comes to another
// daemon and not to our sockets; zero if not. To the repair that is as good.
func (r *receiver) otherDaemons() mark {
	k := r.keeper
	if len(r.sockets) == 0 && !k.aside {
		return mark{} // it only keeps the repair
	}
	now := k.devLog()
	if id, err := k.resolve(); err != nil || r.owns(id) || k.isVacant() {
		return mark{}
	}
	return now
}

// standBy leaves it to the other daemon to receive. Our sockets stay.
func (r *receiver) standBy(other mark) {
	k := r.keeper
	k.taken = fileID{}
	if other.text == "" {
		k.taken = other.id
	}
	if !k.aside {
		k.aside = true
		r.sayAside(cmp.Or(other.text, names.LogPath))
	}
}

func (r *receiver) sayAside(where string) {
	r.say(syslog.Notice, "another daemon listens on "+where+" now; this receiver only keeps the repair")
}

// isVacant reports whether nobody listens where /dev/log leads.
func (k *keeper) isVacant() bool {
	fd, err := dirfd.OpenInRoot(int(k.root.Fd()), names.LogPath, 0)
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	defer unix.Close(fd)
	to, err := dirfd.Connect(fd, unix.SOCK_DGRAM)
	if err == nil {
		_ = unix.Close(to)
		return false
	}
	// What is no socket refuses too, and is not ours to replace.
	var st unix.Stat_t
	return errors.Is(err, unix.ECONNREFUSED) && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

// isBack reports whether a receiver that had stepped aside receives again what
// is sent to /dev/log; then it is not aside any more.
func (r *receiver) isBack() bool {
	k := r.keeper
	if !k.aside {
		return false
	}
	id, err := k.resolve()
	k.aside = err != nil || !r.owns(id)
	if !k.aside {
		k.vacantAt, k.taken = time.Time{}, fileID{}
	}
	return !k.aside
}
