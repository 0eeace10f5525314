package devlog

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// mount mounts a link over /dev/log: a name that resolves privately, which a
// daemon may unlink and bind what it leads to as often as it likes.
func (w *work) mount(text string) error {
	if err := w.contain(w.dev); err != nil {
		return err
	}
	checkpoint()
	if err := w.at.Unlink(overName); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := w.at.Symlink(text, overName); err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = w.at.Unlink(overName) })
	checkpoint()
	mounts := w.target.mounts()
	err := mounts.Over(w.at, overName, w.dev, logName)
	if errors.Is(err, unix.ENOSYS) { // Linux before 5.2 cannot mount links
		err = mounts.OverOld(w.at, path.Base(text), w.dev, logName)
	}
	if err != nil {
		return changed(err, unix.ENOENT)
	}
	w.undo = append(w.undo, func() { _ = mounts.Unmount(w.dev, logName) })
	return nil
}

// takeOff unmounts what is mounted over /dev/log: the kernel mounts nothing over
// a file that has been unlinked.
func (w *work) takeOff() error {
	if err := w.contain(w.dev); err != nil { // an unmount reaches peers, too
		return err
	}
	putBack, err := w.target.mounts().TakeOff(w.dev, logName)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() { putBack(true) })
	w.done = append(w.done, func() { putBack(false) })
	return nil
}

// spot makes /dev/log, to mount over: what every syslog daemon that starts
// replaces. It stays, for other containers may have mounted over it by then.
func (w *work) spot() error {
	if err := w.dev.MakeSocketFile(logName, rootfs.Owner{Mode: 0o666}); err != nil {
		return changed(err, unix.EEXIST)
	}
	st, err := w.dev.Lstat(logName)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = takeAway(w.dev, st.ID) })
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
	m, err := w.target.mountOf(id)
	if err != nil || m == nil || !isShared(m.Optional) {
		return err
	}
	if err := w.target.mounts().Contain(m.Mountpoint); err != nil {
		return err
	}
	// By its path it may have been another mount, under or over that one.
	m, err = w.target.mountOf(id)
	if err == nil && (m == nil || isShared(m.Optional)) {
		err = fmt.Errorf("mount in %s for this container only: its mount is shared with others, and stays so", d.Path())
	}
	return err
}

// mountOf is the mount with that number in the container's mount table, or nil
// if there is none.
func (t *Target) mountOf(id int) (*mountinfo.Info, error) {
	table, err := os.Open("/proc/" + strconv.Itoa(t.pid) + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the container's mount table: %w", err)
	}
	defer table.Close()
	list, err := mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) { return m.ID != id, m.ID == id })
	if err != nil {
		return nil, fmt.Errorf("read the container's mount table: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list[0], nil
}

// ownTmpfs is the directory over which a repair has mounted the tmpfs that d is
// on, or nil if d is on no such one. The mount table says so, not the record:
// that could name any mount.
func (t *Target) ownTmpfs(d *rootfs.Dir) *rootfs.Dir {
	id, err := d.MountID()
	if err != nil || t.pid == 0 {
		return nil
	}
	m, err := t.mountOf(id)
	if err != nil || m == nil || m.FSType != "tmpfs" || m.Source != rootfs.TmpfsSource {
		return nil
	}
	top, err := t.root.Dir(m.Mountpoint)
	if err != nil {
		return nil
	}
	if at, err := top.MountID(); err != nil || at != id {
		top.Close()
		return nil
	}
	return top
}

// isShared says whether mountinfo's optional fields name a peer group
// (proc_pid_mountinfo(5)).
func isShared(optional string) bool {
	for field := range strings.FieldsSeq(optional) {
		if strings.HasPrefix(field, "shared:") {
			return true
		}
	}
	return false
}
