package watcher

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/names"
)

// remountEvery is the shortest time between two remounts. If /dev/log is replaced more often,
// the repair does it, with its pauses.
const remountEvery = time.Second

// maxEarly is how often the watches are renewed at once between two checks.
const maxEarly = 3

// remounts are mounts without a repair.
type remounts struct {
	at    time.Time // of the last remount
	early int       // how often the watches were renewed early since the last check
}

// remount mounts the link over /dev/log again after a daemon replaced /dev/log: unlinking the
// file below removed the mount. A repair does that too, but later, and until then the
// container's messages go to the host's log. It returns whether /dev/log is correct now.
func (w *Watcher) remount(now time.Time) bool {
	link := w.mountedLink()
	if link == nil || now.Sub(w.remounts.at) < remountEvery {
		return false
	}
	tried, err := w.container.mount(*link)
	if tried {
		w.remounts.at = now
	}
	if err != nil || w.inspect() != ok { // the repair reports the problem
		return false
	}
	w.countRepaired(now)
	return true
}

// mountedLink returns the link that is mounted over /dev/log; nil for none.
func (w *Watcher) mountedLink() *Name {
	for _, n := range w.owner.Names() {
		if n.Name != names.Link {
			continue
		}
		if _, mode := n.lookup(); mode == unix.S_IFLNK {
			return &n
		}
	}
	return nil
}

// mount mounts the link over a socket at /dev/log, in the container's mount namespace. It does
// not try without a socket there, which is cheap.
func (c *container) mount(link Name) (tried bool, err error) {
	dev, err := c.openDev()
	if err != nil {
		return false, err
	}
	defer unix.Close(dev)
	log := Name{Dir: dev, Name: names.Log}
	if _, mode := log.lookup(); mode != unix.S_IFSOCK {
		return false, fmt.Errorf("cannot mount over /dev/log: %w", unix.ENOTSOCK)
	}
	return true, c.inMounts(func() error { return mountOver(link, log) })
}

// mountOver mounts a copy of the file from over the file to. It follows no links.
func mountOver(from, to Name) error {
	tree, err := dirfd.Clone(from.Dir, from.Name)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return dirfd.Attach(tree, to.Dir, to.Name)
}
