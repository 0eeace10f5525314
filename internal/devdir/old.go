package devdir

import (
	"errors"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// MoveOld renames the log with that identity to names.Old, and returns a function that
// renames it back. Root of any container can have put something at names.Old: if either
// file is a directory, the other file moves into it; if neither is, the newer file is kept.
func MoveOld(dev *rootfs.Dir, id rootfs.ID) (back func(), err error) {
	// While it is held no newer file can have the same identity.
	held, st, err := dev.HoldOwn(names.Log)
	if err != nil {
		return nil, Changed(err, unix.ENOENT)
	}
	defer held.Close()
	if st.ID != id {
		return nil, ErrChanged
	}
	before, err := dev.Lstat(names.Old)
	if err != nil {
		return nil, err
	}
	to, name := dev, names.Old
	switch {
	case before.Kind == rootfs.Absent:
	case st.Kind == rootfs.Directory:
		err = moveInto(dev, names.Old, names.Log, st.ID)
	case before.Kind == rootfs.Directory:
		if to, err = dev.Enter(names.Old); err != nil {
			return nil, Changed(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP)
		}
		name = rootfs.TempName(names.Log)
	default:
		err = dev.Unlink(names.Old)
	}
	if err != nil {
		return nil, Changed(err, unix.ENOENT, unix.EISDIR)
	}
	closeDir := func() {
		if to != dev {
			to.Close()
		}
	}
	if err := dev.MoveTo(names.Log, to, name); err != nil {
		closeDir()
		return nil, Changed(err, unix.ENOENT, unix.EEXIST)
	}
	back = func() {
		_ = to.MoveTo(name, dev, names.Log)
		closeDir()
	}
	if st, err := to.Lstat(name); err != nil || st.ID != id {
		return back, errors.Join(ErrChanged, err)
	}
	return back, nil
}

// moveInto moves the file into the directory dir, which must have that identity.
func moveInto(d *rootfs.Dir, name, dir string, id rootfs.ID) error {
	to, err := d.Enter(dir)
	if err != nil {
		return Changed(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP)
	}
	defer to.Close()
	if st, err := to.Self(); err != nil || st.ID != id {
		return errors.Join(ErrChanged, err)
	}
	return d.MoveTo(name, to, rootfs.TempName(name))
}
