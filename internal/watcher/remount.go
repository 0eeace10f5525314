package watcher

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/names"
)

// remountEvery is the shortest time between two mounts without a repair: if /dev/log is
// replaced more often, the pauses between repairs apply.
const remountEvery = time.Second

// remounts are the mounts without a repair.
type remounts struct {
	at    time.Time // the last one
	early int       // how often the watches were renewed for one since the last look
}

// remount mounts that link over /dev/log again where a daemon has just taken the
// name: with the file that it unlinked went the mount. A repair does that, too, but
// what the container logs until then lands in the host's log.
func (w *Watcher) remount(now time.Time) {
	link := w.mountedLink()
	if link == nil || now.Sub(w.remounts.at) < remountEvery {
		return
	}
	tried, err := w.container.mount(*link)
	if tried {
		w.remounts.at = now
	}
	if err == nil && w.inspect() == ok { // else the repair says what is wrong
		w.countRepaired(now)
	}
}

// mountedLink is the link that was mounted over /dev/log; nil for none.
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

// mount mounts the link over a socket at /dev/log, in the container's mount
// namespace. Without a socket there it is not tried, which costs next to nothing.
func (c *container) mount(link Name) (tried bool, err error) {
	dev, err := c.openDev()
	if err != nil {
		return false, err
	}
	defer unix.Close(dev)
	log := Name{Dir: dev, Name: names.Log}
	if _, mode := log.lookup(); mode != unix.S_IFSOCK {
		return false, fmt.Errorf("mount over /dev/log: %w", unix.ENOTSOCK)
	}
	return true, c.inMounts(func() error { return mountOver(link, log) })
}

// mountOver mounts a copy of the file from over the file to, following neither.
func mountOver(from, to Name) error {
	tree, err := dirfd.Clone(from.Dir, from.Name)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return dirfd.Attach(tree, to.Dir, to.Name)
}
