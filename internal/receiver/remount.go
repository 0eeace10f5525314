package receiver

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/names"
)

// remountEvery is the shortest time between two mounts without a repair: if /dev/log is
// replaced more often, the repairs' back-off applies.
const remountEvery = time.Second

// remount mounts that link over /dev/log again where a daemon has just taken the
// name: with the file that it unlinked went the mount. A repair does that, too, but
// what the container logs until then lands in the host's log. It reports whether
// /dev/log is right now.
func (r *receiver) remount(now time.Time) bool {
	k := r.keeper
	link := r.mountedLink()
	if link == nil || now.Sub(k.remountedAt) < remountEvery {
		return false
	}
	tried, err := k.mount(link)
	if tried {
		k.remountedAt = now
	}
	if err != nil || r.inspect() != right {
		return false // the repair says what is wrong
	}
	r.countRepaired(now)
	return true
}

// mountedLink is the link that was mounted over /dev/log; nil for none.
func (r *receiver) mountedLink() *place {
	for _, p := range r.places {
		if _, mode := p.lookup(); p.name == names.Link && mode == unix.S_IFLNK {
			return p
		}
	}
	return nil
}

// mount mounts the link over a socket at /dev/log, in the container's mount
// namespace. Kernels before 5.8 cannot enter it by a pidfd. Without a socket there
// it is not tried, which costs next to nothing.
func (k *keeper) mount(link *place) (tried bool, err error) {
	dev, err := k.openDev()
	if err != nil {
		return false, err
	}
	defer unix.Close(dev)
	log := place{dir: dev, name: names.Log}
	if _, mode := log.lookup(); mode != unix.S_IFSOCK {
		return false, fmt.Errorf("mount over /dev/log: %w", unix.ENOTSOCK)
	}
	return true, k.inMounts(func() error { return mountOver(link, log) })
}

// inMounts calls f in the container's mount namespace.
func (k *keeper) inMounts(f func() error) error {
	if k.init == nil {
		return f()
	}
	return dirfd.InMounts(k.init, f)
}

// openUncovered opens a handle on the directory without what is mounted below it. It
// takes the privileges of one who may mount.
func (k *keeper) openUncovered(dir int) (fd int, err error) {
	err = k.inMounts(func() (err error) {
		fd, err = unix.OpenTree(dir, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		return err
	})
	return fd, err
}

// mountOver mounts a copy of the file from over the file to, following neither.
func mountOver(from *place, to place) error {
	tree, err := dirfd.Clone(from.dir, from.name)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return dirfd.Attach(tree, to.dir, to.name)
}
