package devlog

import (
	"errors"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// swapTimeout is how long a repair waits for another container's that swaps
// names in the same /dev, which takes microseconds. Correctness does not
// depend on the lock: anybody who shares /dev can hold it.
const swapTimeout = time.Second

// swap runs f, that swaps names in /dev, alone among repairs, after the
// leftovers of those that were killed have been cleared away.
func swap(dev *rootfs.Dir, f func() error) error {
	unlock, err := dev.Lock(swapTimeout)
	if err != nil {
		return f()
	}
	defer unlock()
	clearLeftovers(dev)
	return f()
}

// clearDev clears /dev of leftovers, also where there is nothing to repair.
func clearDev(t *Target) error {
	dev, err := t.root.Dir(devDir)
	if err != nil {
		return nil //nolint:nilerr // the plan says what is wrong with it
	}
	defer dev.Close()
	for _, name := range rootfs.SharedTemps {
		if st, err := dev.Lstat(name); err == nil && st.Kind != rootfs.Absent && st.Kind != rootfs.Directory {
			return swap(dev, func() error { return nil })
		}
	}
	return nil
}

// clearLeftovers removes the temporary names that a killed repair has left in
// /dev, which is never listed: others can make as many names there as they like.
// A live socket among them stood at /dev/log when the repair was killed: it gets
// its place back.
func clearLeftovers(dev *rootfs.Dir) {
	for _, name := range rootfs.SharedTemps {
		if st, err := dev.Lstat(name); err != nil || st.Kind == rootfs.Absent {
			continue
		}
		if l, err := dev.Listening(name); err == nil && l.Live && !sameFile(dev, name, hostName) && !sameFile(dev, name, logName) {
			// Not in the place of a daemon that has bound its socket since.
			if now, err := dev.Listening(logName); err != nil || !now.Live {
				if err := dev.RenameNew(name, logName); err != nil {
					_ = dev.Exchange(name, logName)
				}
			}
		}
		_ = dev.Unlink(name) // what cannot be removed, such as a directory, is not ours
	}
}

func sameFile(d *rootfs.Dir, a, b string) bool {
	x, err := d.Lstat(a)
	y, err2 := d.Lstat(b)
	return err == nil && err2 == nil && x.ID == y.ID
}

// link makes /dev/log a link, at no moment without something of that name, and
// replaces nothing but what was inspected.
func (w *work) link(text string) error {
	switch w.facts.Log.Kind {
	case rootfs.Socket, rootfs.Link:
		return swap(w.dev, func() error { return replaceWithLink(w.dev, text, w.facts.Log.ID) })
	}
	// There was nothing, or it was moved aside.
	return changed(w.dev.Symlink(text, logName), unix.EEXIST)
}

// replaceWithLink puts a link with this text in the place of the log that has
// that identity; see replace.
func replaceWithLink(d *rootfs.Dir, text string, old rootfs.ID) error {
	return replace(d, old, func(tmp string) error { return d.Symlink(text, tmp) })
}

// replace puts what prepare makes, under a name that it is given, in the place
// of the log that has the identity old. Should the name be another file by
// now, that stays there and the error is errChanged: a daemon that has just
// bound its socket keeps it.
func replace(d *rootfs.Dir, old rootfs.ID, prepare func(tmp string) error) error {
	out, tmp, ours, err := exchange(d, old, prepare)
	if err != nil {
		return err
	}
	if out.ID == old {
		return d.Unlink(tmp)
	}
	return errors.Join(errChanged, d.PutBack(tmp, logName, ours))
}

// exchange swaps what prepare makes, that has the identity ours, for the log
// that has the identity old. What came out has the name tmp.
func exchange(d *rootfs.Dir, old rootfs.ID, prepare func(tmp string) error) (out rootfs.Stat, tmp string, ours rootfs.ID, err error) {
	// Held, so that no newer file can have the same identity.
	held, st, err := d.HoldOwn(logName)
	if held != nil {
		defer held.Close()
	}
	if err == nil && st.ID != old {
		err = errChanged
	}
	if err != nil {
		return out, "", ours, changed(err, unix.ENOENT, unix.EXDEV)
	}
	if tmp, err = d.Claim(prepare); err != nil {
		return out, "", ours, err
	}
	checkpoint()
	made, st, err := d.Hold(tmp)
	if err == nil {
		defer made.Close()
		err = d.Exchange(tmp, logName)
	}
	if err != nil {
		if uerr := d.Unlink(tmp); uerr != nil && !errors.Is(uerr, unix.ENOENT) {
			err = errors.Join(err, uerr)
		}
		return out, "", ours, changed(err, unix.ENOENT)
	}
	checkpoint()
	out, err = lookOwn(d, tmp)
	return out, tmp, st.ID, err
}

// lookOwn says what the name is that was just given to a file. What is mounted
// over that goes with it: then it is nothing that was seen before.
func lookOwn(d *rootfs.Dir, name string) (rootfs.Stat, error) {
	held, st, err := d.HoldOwn(name)
	if errors.Is(err, unix.EXDEV) {
		return rootfs.Stat{}, nil
	}
	if err == nil {
		held.Close()
	}
	return st, err
}

// preserve makes /dev/log a link while the host's daemon keeps its socket:
// its clients reach it at every instant, by the old name, by the new one, or by
// the link.
func (w *work) preserve(text string) error {
	return swap(w.dev, func() error {
		// The host may have been undone since: its end of the link is gone.
		if st, err := w.dev.Lstat(hostName); w.facts.hostPrepared() && (err != nil || st.Kind != rootfs.Socket) {
			return errors.Join(errChanged, err)
		}
		return preserve(w.dev, text, w.facts.Log.ID)
	})
}

func preserve(d *rootfs.Dir, text string, socket rootfs.ID) error {
	if err := d.HardLink(logName, hostName, socket); err != nil {
		return changed(err, unix.ENOENT, unix.ESTALE)
	}
	checkpoint()
	out, tmp, ours, err := exchange(d, socket, func(tmp string) error { return d.Symlink(text, tmp) })
	switch {
	case err != nil:
		return err
	case out.ID == socket:
		return d.Unlink(tmp)
	case out.Kind == rootfs.Socket:
		// The daemon has bound a new socket meanwhile: that is the host's now.
		return d.Rename(tmp, hostName)
	default:
		return errors.Join(errChanged, d.PutBack(tmp, logName, ours))
	}
}

// hostLink makes the link that leads the host's own clients on to the host's
// socket. It is made in this process's own root, which is the host's.
func (w *work) hostLink(at, text string) error {
	return rootfs.AsSelf(func() error {
		host, err := Host()
		if err != nil {
			return err
		}
		defer host.Close()
		if !w.target.host { // prepare has noted it otherwise
			if err := w.noteHost(host, path.Dir(at)); err != nil {
				return err
			}
		}
		if err := makeHostLink(host.root, at, text); err != nil {
			return err
		}
		// Where there is no daemon yet, a name that none has any more: whoever
		// finds it knows that the host is prepared.
		st, err := w.dev.Lstat(hostName)
		if err != nil || st.Kind != rootfs.Absent {
			return err
		}
		return changed(w.dev.MakeSocketFile(hostName, rootfs.Owner{Mode: 0o666}), unix.EEXIST)
	})
}
