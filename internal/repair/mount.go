package repair

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"devlog/internal/crash"
	"devlog/internal/devdir"
	"devlog/internal/names"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// mount mounts a link over /dev/log. Its target is a different file in each container, and a
// daemon may remove and bind that as often as it wants.
func (w *work) mount(text string) error {
	if err := w.contain(w.dev); err != nil {
		return err
	}
	crash.Point()
	if err := w.at.Unlink(names.Link); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := w.at.Symlink(text, names.Link); err != nil {
		return err
	}
	w.rollback = append(w.rollback, func() { _ = w.at.Unlink(names.Link) })
	crash.Point()
	mounts := w.target.Mounts()
	if err := mounts.Over(w.at, names.Link, w.dev, names.Log); err != nil {
		return devdir.Changed(err, unix.ENOENT)
	}
	w.rollback = append(w.rollback, func() { _ = mounts.Unmount(w.dev, names.Log) })
	return nil
}

// unmountDead unmounts what is mounted over /dev/log: the kernel does not mount over a file
// that has been removed.
func (w *work) unmountDead() error {
	if err := w.contain(w.dev); err != nil { // an unmount propagates too
		return err
	}
	putBack, err := w.target.Mounts().TakeOff(w.dev, names.Log)
	if err != nil {
		return err
	}
	w.rollback = append(w.rollback, func() { putBack(true) })
	w.done = append(w.done, func() { putBack(false) })
	return nil
}

// makePlaceholder makes /dev/log a dead socket to mount over. Every syslog daemon replaces
// such a socket. It stays after undo: other containers may have mounted over it.
func (w *work) makePlaceholder() error {
	if err := w.dev.MakeSocketFile(names.Log, rootfs.Owner{Mode: 0o666}); err != nil {
		return devdir.Changed(err, unix.EEXIST)
	}
	st, err := w.dev.Lstat(names.Log)
	if err != nil {
		return err
	}
	w.rollback = append(w.rollback, func() { _ = devdir.Remove(w.dev, st.ID) })
	return nil
}

// contain takes the mount of the directory out of its peer group, so that a mount in it is
// only visible in this container. Otherwise it would appear on the host too, and stay there.
func (w *work) contain(d *rootfs.Dir) error {
	id, err := d.MountID()
	if err != nil {
		return err
	}
	m, err := w.target.MountOf(id)
	if err != nil || m == nil || !target.IsShared(m.Optional) {
		return err
	}
	if err := w.target.Mounts().Contain(m.Mountpoint); err != nil {
		return err
	}
	// The path may have led to another mount, under or over this one.
	m, err = w.target.MountOf(id)
	if err == nil && (m == nil || target.IsShared(m.Optional)) {
		err = fmt.Errorf("cannot mount in %s for this container only: its mount propagation cannot be made private", d.Path())
	}
	return err
}
