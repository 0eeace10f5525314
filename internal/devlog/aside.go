package devlog

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// moveAside gives what stands at /dev/log another name, if it is what was
// inspected.
func (w *work) moveAside() error {
	err := swap(w.dev, func() error {
		back, err := moveAside(w.dev, w.facts.Log.ID)
		if back != nil {
			w.undo = append(w.undo, back)
		}
		return err
	})
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return &Refusal{Reason: fmt.Sprintf("/dev/log is a %s that something is mounted over, or in: %v", w.facts.Log.Kind, err),
			Advice: "take the mount of /dev/log out of the container's configuration"}
	}
	return err
}

// moveAside returns how to take it back. Whatever has the other name already
// stands in nobody's way, for any container's root can have put that there, too:
// a directory takes the other one in, and of two other files the newer one is kept.
func moveAside(dev *rootfs.Dir, id rootfs.ID) (back func(), err error) {
	// Held, so that no newer file can have the same identity.
	held, st, err := dev.HoldOwn(logName)
	if err != nil {
		return nil, changed(err, unix.ENOENT)
	}
	defer held.Close()
	if st.ID != id {
		return nil, errChanged
	}
	before, err := dev.Lstat(asideName)
	if err != nil {
		return nil, err
	}
	to, name := dev, asideName
	switch {
	case before.Kind == rootfs.Absent:
	case st.Kind == rootfs.Directory:
		err = moveInto(dev, asideName, logName, st.ID)
	case before.Kind == rootfs.Directory:
		if to, err = dev.Enter(asideName); err != nil {
			return nil, changed(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP)
		}
		name = rootfs.TempName(logName)
	default:
		err = dev.Unlink(asideName)
	}
	if err != nil {
		return nil, changed(err, unix.ENOENT, unix.EISDIR)
	}
	closeDir := func() {
		if to != dev {
			to.Close()
		}
	}
	if err := dev.MoveTo(logName, to, name); err != nil {
		closeDir()
		return nil, changed(err, unix.ENOENT, unix.EEXIST)
	}
	back = func() {
		_ = to.MoveTo(name, dev, logName)
		closeDir()
	}
	if st, err := to.Lstat(name); err != nil || st.ID != id {
		return back, errors.Join(errChanged, err)
	}
	return back, nil
}

// moveInto moves the file into the directory of that name and identity.
func moveInto(d *rootfs.Dir, name, dir string, id rootfs.ID) error {
	to, err := d.Enter(dir)
	if err != nil {
		return changed(err, unix.ENOENT, unix.ENOTDIR, unix.ELOOP)
	}
	defer to.Close()
	if st, err := to.Self(); err != nil || st.ID != id {
		return errors.Join(errChanged, err)
	}
	return d.MoveTo(name, to, rootfs.TempName(name))
}
