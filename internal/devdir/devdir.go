// Package devdir owns the changes of names in /dev, which containers may share:
// each name is replaced in one step, and only if it is what was inspected.
package devdir

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/crash"
	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// ErrChanged says that /dev/log is no longer what was inspected: the repair starts again.
var ErrChanged = errors.New("/dev/log changed during the repair")

// Changed returns ErrChanged if err is one of the codes, and err itself otherwise.
func Changed(err error, codes ...error) error {
	if slices.ContainsFunc(codes, func(c error) bool { return errors.Is(err, c) }) {
		return ErrChanged
	}
	return err
}

// swapTimeout is how long a repair waits for the repair of another container in the same
// /dev, which takes microseconds. Correctness does not depend on the lock: anybody who
// shares /dev can hold it.
const swapTimeout = time.Second

// Swap calls f, which changes names in /dev, while it holds the directory's lock, and
// removes leftovers of killed repairs first. After a second it continues without the lock.
func Swap(dev *rootfs.Dir, f func() error) error {
	unlock, err := dev.Lock(swapTimeout)
	if err != nil {
		return f()
	}
	defer unlock()
	clearLeftovers(dev)
	return f()
}

// clearLeftovers removes the temporary names that a killed repair left in /dev. /dev is
// never listed: others can create any number of names. A live socket among them was
// /dev/log when the repair was killed: it becomes /dev/log again.
func clearLeftovers(dev *rootfs.Dir) {
	for _, name := range rootfs.SharedTemps {
		if st, err := dev.Lstat(name); err != nil || st.Kind == rootfs.Absent {
			continue
		}
		if l, err := dev.Listening(name); err == nil && l.Live && !sameFile(dev, name, names.HostSocket) && !sameFile(dev, name, names.Log) {
			// Unless a daemon has bound a new socket since.
			if now, err := dev.Listening(names.Log); err != nil || !now.Live {
				if err := dev.RenameNew(name, names.Log); err != nil {
					_ = dev.Exchange(name, names.Log)
				}
			}
		}
		_ = dev.Unlink(name) // a directory is not ours
	}
}

func sameFile(d *rootfs.Dir, a, b string) bool {
	x, err := d.Lstat(a)
	y, err2 := d.Lstat(b)
	return err == nil && err2 == nil && x.ID == y.ID
}

// ReplaceWithLink replaces the log with the identity old by a link with this text; see
// Replace.
func ReplaceWithLink(d *rootfs.Dir, text string, old rootfs.ID) error {
	return Replace(d, old, func(tmp string) error { return d.Symlink(text, tmp) })
}

// Replace replaces the log with the identity old, in one step, by the file that prepare
// creates under a temporary name. If the log is another file by now, that file stays and
// the error is ErrChanged: a daemon that has just bound its socket keeps it.
func Replace(d *rootfs.Dir, old rootfs.ID, prepare func(tmp string) error) error {
	out, tmp, ours, err := exchange(d, old, prepare)
	if err != nil {
		return err
	}
	if out.ID == old {
		return d.Unlink(tmp)
	}
	return errors.Join(ErrChanged, d.PutBack(tmp, names.Log, ours))
}

// exchange swaps the file that prepare creates, whose identity is ours, with the log that
// has the identity old. The file out that was the log is then called tmp.
func exchange(d *rootfs.Dir, old rootfs.ID, prepare func(tmp string) error) (out rootfs.Stat, tmp string, ours rootfs.ID, err error) {
	// While it is held no newer file can have the same identity.
	held, st, err := d.HoldOwn(names.Log)
	if held != nil {
		defer held.Close()
	}
	if err == nil && st.ID != old {
		err = ErrChanged
	}
	if err != nil {
		return out, "", ours, Changed(err, unix.ENOENT, unix.EXDEV)
	}
	if tmp, err = d.Claim(prepare); err != nil {
		return out, "", ours, err
	}
	crash.Point()
	made, st, err := d.Hold(tmp)
	if err == nil {
		defer made.Close()
		err = d.Exchange(tmp, names.Log)
	}
	if err != nil {
		if uerr := d.Unlink(tmp); uerr != nil && !errors.Is(uerr, unix.ENOENT) {
			err = errors.Join(err, uerr)
		}
		return out, "", ours, Changed(err, unix.ENOENT)
	}
	crash.Point()
	out, err = statOwn(d, tmp)
	return out, tmp, st.ID, err
}

// statOwn examines a file that was just renamed. If something is mounted over it, it is not
// the file that was inspected: the result is empty.
func statOwn(d *rootfs.Dir, name string) (rootfs.Stat, error) {
	held, st, err := d.HoldOwn(name)
	if errors.Is(err, unix.EXDEV) {
		return rootfs.Stat{}, nil
	}
	if err == nil {
		held.Close()
	}
	return st, err
}

// Preserve makes the log, the socket with that identity, a link with this text, and
// keeps the socket as names.HostSocket. If its daemon binds a new socket meanwhile,
// that one is kept.
func Preserve(d *rootfs.Dir, text string, socket rootfs.ID) error {
	if err := ClearHostSocket(d); err != nil {
		return err
	}
	if err := d.HardLink(names.Log, names.HostSocket, socket); err != nil {
		return Changed(err, unix.ENOENT, unix.ESTALE)
	}
	crash.Point()
	out, tmp, ours, err := exchange(d, socket, func(tmp string) error { return d.Symlink(text, tmp) })
	switch {
	case err != nil:
		return err
	case out.ID == socket:
		return d.Unlink(tmp)
	case out.Kind == rootfs.Socket:
		// The daemon has bound a new socket meanwhile: it is the host's now.
		return d.Rename(tmp, names.HostSocket)
	default:
		return errors.Join(ErrChanged, d.PutBack(tmp, names.Log, ours))
	}
}

// Remove removes the log with that identity. The error is ErrChanged if it is another file.
func Remove(dev *rootfs.Dir, id rootfs.ID) error {
	tmp, err := dev.Claim(func(tmp string) error { return dev.RenameNew(names.Log, tmp) })
	if err != nil {
		return Changed(err, unix.ENOENT)
	}
	if st, err := statOwn(dev, tmp); err != nil || st.ID != id {
		return errors.Join(ErrChanged, err, dev.RenameNew(tmp, names.Log))
	}
	return dev.Unlink(tmp)
}

// ClearHostSocket removes a file that is no socket from the name of the host's socket:
// root in any container can put it there. It renames a directory that is not empty.
// ErrChanged says that somebody else changed the name at the same time.
func ClearHostSocket(d *rootfs.Dir) error {
	st, err := d.Lstat(names.HostSocket)
	if err != nil || st.Kind == rootfs.Absent || st.Kind == rootfs.Socket {
		return err
	}
	if st.Kind != rootfs.Directory {
		err = d.Unlink(names.HostSocket)
	} else if err = d.Rmdir(names.HostSocket); err != nil {
		err = d.RenameNew(names.HostSocket, rootfs.TempName(names.HostSocket))
	}
	return Changed(err, unix.ENOENT, unix.ENOTDIR, unix.EISDIR)
}
