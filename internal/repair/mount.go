package repair

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"devlog/internal/crash"
	"devlog/internal/devdir"
	"devlog/internal/names"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// mount mounts a link over /dev/log: a name that resolves privately, which a
// daemon may unlink and bind what it leads to as often as it likes.
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
	w.undo = append(w.undo, func() { _ = w.at.Unlink(names.Link) })
	crash.Point()
	mounts := w.target.Mounts()
	err := mounts.Over(w.at, names.Link, w.dev, names.Log)
	if errors.Is(err, unix.ENOSYS) { // Linux before 5.2 cannot mount links
		err = mounts.OverOld(w.at, path.Base(text), w.dev, names.Log)
	}
	if err != nil {
		return devdir.Changed(err, unix.ENOENT)
	}
	w.undo = append(w.undo, func() { _ = mounts.Unmount(w.dev, names.Log) })
	return nil
}

// unmountDead unmounts what is mounted over /dev/log: the kernel mounts nothing over
// a file that has been unlinked.
func (w *work) unmountDead() error {
	if err := w.contain(w.dev); err != nil { // an unmount reaches peers, too
		return err
	}
	putBack, err := w.target.Mounts().TakeOff(w.dev, names.Log)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() { putBack(true) })
	w.done = append(w.done, func() { putBack(false) })
	return nil
}

// makePlaceholder makes /dev/log, to mount over: what every syslog daemon that starts
// replaces. It stays, for other containers may have mounted over it by then.
func (w *work) makePlaceholder() error {
	if err := w.dev.MakeSocketFile(names.Log, rootfs.Owner{Mode: 0o666}); err != nil {
		return devdir.Changed(err, unix.EEXIST)
	}
	st, err := w.dev.Lstat(names.Log)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = devdir.Remove(w.dev, st.ID) })
	return nil
}

// contain sees to it that what is mounted in the directory is mounted for this
// container only: on a mount that has peers it would appear on the host too,
// and stay there.
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
	// By its path it may have been another mount, under or over that one.
	m, err = w.target.MountOf(id)
	if err == nil && (m == nil || target.IsShared(m.Optional)) {
		err = fmt.Errorf("mount in %s for this container only: its mount is shared with others, and stays so", d.Path())
	}
	return err
}
