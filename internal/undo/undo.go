// Package undo restores what repairs changed, on request and after a container's end.
package undo

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/crash"
	"devlog/internal/devdir"
	"devlog/internal/hosts"
	"devlog/internal/inspect"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/rootfs"
	"devlog/internal/running"
	"devlog/internal/target"
)

// resolveTime is how long a client may take between reading a link and following it. The
// target stays that long.
const resolveTime = 250 * time.Millisecond

// Do restores what repairs of the target changed and ends its receiver, which first writes its
// queued messages. It returns false if there was nothing to undo. The error is a *plan.Refusal
// if an undo from here would not be safe.
func Do(t *target.Target, socket string) (undone bool, err error) {
	err = rootfs.As(t.UID, t.GID, func() error {
		defer t.Lock()()
		undone, err = undo(t, socket)
		return err
	})
	return undone, err
}

func undo(t *target.Target, socket string) (bool, error) {
	dirs, err := recordDirs(t, socket)
	if err != nil {
		return false, err
	}
	undone := false
	for _, dir := range dirs {
		done, err := undoAt(t, dir)
		undone = undone || done
		if err != nil {
			return undone, err
		}
	}
	return undone, nil
}

// undoAt undoes the changes that the directory's record describes, if there is a record.
func undoAt(t *target.Target, dir string) (undone bool, err error) {
	at, err := t.Root.Dir(dir)
	for errors.Is(err, unix.ENOENT) && dir != "/" {
		dir = path.Dir(dir)
		at, err = t.Root.Dir(dir)
	}
	if err != nil {
		return false, err
	}
	defer at.Close()
	if r := changes.Read(at); r != nil && r.Host == t.Host {
		if err := mayUndo(r, t); err != nil {
			return false, err
		}
		if err := at.Writable(); errors.Is(err, os.ErrPermission) { // check before changing anything
			return false, fmt.Errorf("cannot undo the repair recorded in %s: %w", dir, err)
		}
		return true, undoChanges(r, t, at)
	} else if r != nil && r.Host && r.MountNS == t.MountNS {
		return false, &plan.Refusal{Reason: "this is a prepared host", Advice: "run devlog-hook undo --host"}
	}
	// A repair that was killed before it wrote a record can only have mounted a tmpfs.
	top := t.OwnTmpfs(at)
	if top == nil {
		return false, nil
	}
	defer top.Close()
	return true, t.Mounts().Unmount(top, "")
}

// mayUndo returns a *plan.Refusal if a repair cannot be undone from here: a receiver that
// runs on the host would repair again.
func mayUndo(r *changes.Changes, t *target.Target) error {
	own, err := target.Namespace("self", "pid")
	if err != nil {
		return err
	}
	elsewhere := r.Receiver > 0 && r.PIDNS != own || r.Starting != 0 && r.Starting != own
	if t.Inside && !t.Host && elsewhere && r.MountNS == t.MountNS {
		return &plan.Refusal{Reason: "the receiver runs on the host and cannot be ended from inside the container",
			Advice: "run devlog-hook undo --pid on the host, or end the container"}
	}
	return nil
}

// recordDirs returns the directories that may have a repair's record: the socket's, and the
// one to which /dev/log points.
func recordDirs(t *target.Target, socket string) ([]string, error) {
	dirs := []string{path.Dir(socket)}
	if t.Host {
		return dirs, nil
	}
	p, err := t.Root.Resolve(names.LogPath)
	if err != nil {
		return nil, err
	}
	p.Close()
	if dir := path.Dir(p.Path); p.Blocked == nil && !slices.Contains(dirs, dir) {
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// undoChanges undoes the changes that the record in the directory at describes. If it is
// interrupted, another call can continue.
func undoChanges(r *changes.Changes, t *target.Target, at *rootfs.Dir) error {
	dev, err := t.Root.Dir(names.Dev)
	if err != nil {
		return err
	}
	defer dev.Close()
	sameNS := r.MountNS == t.MountNS
	if !t.Trusts(r) {
		r.Set, r.Pointed = "", ""
	}
	if r.Host { // a host's watcher receives nothing, and would prepare the host again
		if err := running.End(at); err != nil {
			return err
		}
		crash.Point()
	}
	// Remove the name first, so that no new messages arrive after the receiver's last ones.
	if r.Mounted && sameNS {
		if over, err := dev.MountedOver(names.Log); err != nil {
			return err
		} else if over && ourMount(dev) {
			// Without the link no receiver can mount it again.
			if err := at.Unlink(names.Link); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			crash.Point()
			if err := t.Mounts().Unmount(dev, names.Log); err != nil {
				return err
			}
		}
	}
	crash.Point()
	if err := unpoint(r, t); err != nil {
		return err
	}
	crash.Point()
	if r.Host && r.Renamed && hasSharers() {
		r.Renamed = false
	}
	err = devdir.ErrChanged
	for tries := 0; r.Host && errors.Is(err, devdir.ErrChanged) && tries < repair.MaxTries || tries == 0; tries++ {
		err = devdir.Swap(dev, func() error { return restore(r, dev, at) })
	}
	if err != nil {
		return err
	}
	crash.Point()
	if err := running.End(at); err != nil {
		return err
	}
	crash.Point()
	if !r.Host {
		if err := removeStale(at, path.Base(r.Socket)); err != nil {
			return err
		}
	}
	crash.Point()
	return removeRest(r, t, at)
}

// restore restores /dev/log and, on a host, removes what only a prepared host needs.
func restore(r *changes.Changes, dev, at *rootfs.Dir) error {
	err := restoreLog(r, dev)
	if err != nil && !errors.Is(err, devdir.ErrChanged) { // another program's file stays
		return err
	}
	if r.Host { // do this before a container makes its link again because the host still looks prepared
		return releaseHost(r, dev, at)
	}
	return nil
}

// ourMount returns whether a repair made the mount over /dev/log: only repairs mount a link.
func ourMount(dev *rootfs.Dir) bool {
	st, err := dev.Lstat(names.Log)
	return err == nil && st.Kind == rootfs.Link
}

// restoreLog makes /dev/log what it was before the repair, unless it is no longer what the
// repair made.
func restoreLog(r *changes.Changes, dev *rootfs.Dir) error {
	l, err := dev.Listening(names.HostSocket)
	if err != nil {
		return err
	}
	if r.Renamed && (!r.Host || !l.Live) { // otherwise the host's daemon has replaced it
		return restoreOld(r, dev)
	}
	if r.Set == "" {
		return nil
	}
	st, err := dev.Lstat(names.Log)
	if err != nil {
		return err
	}
	if !isLink(r, dev, names.Log, st) {
		if r.Host {
			return restoreHostName(dev, st)
		}
		return nil
	}
	prepared, err := dev.Lstat(names.HostSocket)
	if err != nil {
		return err
	}
	if l.Live && r.Host && inspect.ForeignOnHost(prepared.ID) {
		l.Live = false // a container's daemon must not keep the host's messages
	}
	switch hostSocket := prepared.Kind == rootfs.Socket; {
	case r.Host && hostSocket && l.Live:
		// The host's clients can reach its socket at every moment.
		return devdir.Replace(dev, st.ID, func(tmp string) error { return dev.Link(names.HostSocket, tmp, prepared.ID) })
	case hostSocket && !r.Host:
		return nil // a prepared host stays prepared
	case r.Was == rootfs.Link:
		return devdir.Replace(dev, st.ID, func(tmp string) error { return dev.Symlink(r.WasLink, tmp) })
	case r.Was == rootfs.Socket:
		return devdir.Replace(dev, st.ID, func(tmp string) error { return dev.MakeSocketFile(tmp, r.WasOwner) })
	default:
		return devdir.Remove(dev, st.ID)
	}
}

// hasSharers returns whether containers share this host's /dev: they may rely on its link. It
// returns true if it cannot tell.
func hasSharers() bool {
	list, err := hosts.List(repair.Options{Socket: names.DefaultSocket})
	return err != nil || len(list) > 0
}

// unpoint removes the link to the private socket from the path to which /dev/log points.
func unpoint(r *changes.Changes, t *target.Target) error {
	if r.Pointed == "" {
		return nil
	}
	d, err := t.Root.Dir(path.Dir(r.Pointed))
	if err != nil {
		return nil //nolint:nilerr // the directory is gone
	}
	defer d.Close()
	name := path.Base(r.Pointed)
	if text, err := d.Readlink(name); err != nil || text != r.Socket {
		return nil //nolint:nilerr // another program's file
	}
	return d.Unlink(name)
}

// isLink returns whether the name is the link that the repair made.
func isLink(r *changes.Changes, dev *rootfs.Dir, name string, st rootfs.Stat) bool {
	if st.Kind != rootfs.Link {
		return false
	}
	text, err := dev.Readlink(name)
	return err == nil && text == r.Set
}

// restoreOld renames names.Old back to /dev/log, also after a repair or an undo that was
// killed.
func restoreOld(r *changes.Changes, dev *rootfs.Dir) error {
	log, err := dev.Lstat(names.Log)
	if err != nil {
		return err
	}
	old, err := dev.Lstat(names.Old)
	switch {
	case err != nil || old.Kind == rootfs.Absent:
		return err
	case log.Kind == rootfs.Absent:
		return devdir.Changed(dev.RenameNew(names.Old, names.Log), unix.EEXIST)
	case r.Set == "": // the repair made a socket there to mount over
		if l, err := dev.Listening(names.Log); err != nil || l.Live || log.Kind != rootfs.Socket {
			return err
		}
		if err := devdir.Remove(dev, log.ID); err != nil {
			return err
		}
		return devdir.Changed(dev.RenameNew(names.Old, names.Log), unix.EEXIST)
	case isLink(r, dev, names.Log, log):
		// Exchange, because names.Old may be a directory.
		if err := dev.Exchange(names.Old, names.Log); err != nil {
			return devdir.Changed(err, unix.ENOENT)
		}
		crash.Point()
		if old, err = dev.Lstat(names.Old); err != nil {
			return err
		}
	}
	if isLink(r, dev, names.Old, old) {
		return dev.Unlink(names.Old)
	}
	return nil
}

// removeStale removes a dead socket that a killed receiver left.
func removeStale(at *rootfs.Dir, name string) error {
	st, err := at.Lstat(name)
	if err != nil || st.Kind != rootfs.Socket {
		return err
	}
	if l, err := at.Listening(name); err != nil || l.Live {
		return err // of the container's own daemon
	}
	return at.Unlink(name)
}

// removeRest removes the rest. The record is last: without it there is nothing to undo. If a
// repair mounted a tmpfs, the record goes with it.
func removeRest(r *changes.Changes, t *target.Target, at *rootfs.Dir) error {
	changes.RemoveTemporary(at)
	for _, s := range slices.Backward(r.Listen) {
		removeFurther(s, t)
	}
	for _, name := range []string{names.Link, names.Record} {
		if top := t.OwnTmpfs(at); top != nil && name == names.Record {
			err := t.Mounts().Unmount(top, "")
			top.Close()
			if err != nil {
				return err
			}
			crash.Point()
		} else if err := at.Unlink(name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for _, dir := range slices.Backward(r.Made) {
		removeDir(dir, t)
	}
	return nil
}

// removeFurther removes a further socket that a killed receiver left, and the directories that were
// created for it. A live socket, or another file in its place, stays.
func removeFurther(s changes.Further, t *target.Target) {
	dir := path.Dir(s.Path)
	if at, err := t.Root.Dir(dir); err == nil {
		name := path.Base(s.Path)
		if st, err := at.Lstat(name); err == nil && (st.ID == s.ID || s.ID == rootfs.ID{}) {
			_ = removeStale(at, name)
		}
		at.Close()
	}
	for ; s.Made > 0 && dir != "/"; s.Made-- {
		removeDir(dir, t)
		dir = path.Dir(dir)
	}
}

// removeDir removes a directory that a repair has created. It stays if it is in use.
func removeDir(dir string, t *target.Target) {
	parent, err := t.Root.Dir(path.Dir(dir))
	if err != nil {
		return // it is gone
	}
	_ = parent.Rmdir(path.Base(dir))
	parent.Close()
}
