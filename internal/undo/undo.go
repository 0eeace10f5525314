// Package undo owns the way back: it restores what repairs changed, on request and
// after a container has ended.
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

// resolveTime is how long a client may take from reading /dev/log, a link, to
// following it: what it leads to is there for so much longer.
const resolveTime = 250 * time.Millisecond

// Do puts back what repairs of the target have changed, and ends its
// receiver, which first writes what it has. It returns false if there was
// nothing to undo.
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

// undoAt puts back what the record in the directory says, if there is one.
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
		if err := at.Writable(); errors.Is(err, os.ErrPermission) { // before anything is half undone
			return false, fmt.Errorf("undo the repair that is noted in %s: %w", dir, err)
		}
		return true, undoChanges(r, t, at)
	} else if r != nil && r.Host && r.MountNS == t.MountNS {
		return false, &plan.Refusal{Reason: "this was prepared as a host", Advice: "run devlog-hook undo --host"}
	}
	// A repair that was killed before it could note anything has mounted a
	// tmpfs at most.
	top := t.OwnTmpfs(at)
	if top == nil {
		return false, nil
	}
	defer top.Close()
	return true, t.Mounts().Unmount(top, "")
}

// mayUndo says why a repair cannot be undone from here: a receiver that runs on
// the host would make it again.
func mayUndo(r *changes.Changes, t *target.Target) error {
	own, err := target.Namespace("self", "pid")
	if err != nil {
		return err
	}
	if t.Inside && !t.Host && r.Receiver > 0 && r.PIDNS != own && r.MountNS == t.MountNS {
		return &plan.Refusal{Reason: "the receiver runs on the host, where it cannot be ended from in here",
			Advice: "run devlog-hook undo --pid there, or end the container"}
	}
	return nil
}

// recordDirs are the directories in which a repair may have left its record:
// beside the socket, and beside where /dev/log leads.
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

// undoChanges puts back what the record in the directory says, in an order in which a
// second call can go on where a first one has ended.
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
	if r.Host { // receives nothing, and would prepare it again
		if err := running.End(at); err != nil {
			return err
		}
		crash.Point()
	}
	// First the name, so that no more messages come in behind it.
	if r.Mounted && sameNS {
		if over, err := dev.MountedOver(names.Log); err != nil {
			return err
		} else if over && ourMount(dev, at) {
			// Without the link no receiver mounts it again meanwhile.
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
		err = devdir.Swap(dev, func() error { return giveBack(r, dev, at) })
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

// giveBack gives /dev/log back to whoever had it.
func giveBack(r *changes.Changes, dev, at *rootfs.Dir) error {
	err := restoreLog(r, dev)
	if err != nil && !errors.Is(err, devdir.ErrChanged) { // what somebody else has put there stays
		return err
	}
	if r.Host { // before a container that finds the host still prepared makes its link again
		return releaseHost(r, dev, at)
	}
	return nil
}

// ourMount says whether what is mounted over /dev/log is what a repair mounts:
// a link, which nobody else mounts, or, on kernels that cannot mount links, a
// socket of the private socket's file system.
func ourMount(dev, at *rootfs.Dir) bool {
	st, err := dev.Lstat(names.Log)
	if err != nil || st.Kind == rootfs.Link {
		return err == nil
	}
	own, err := at.Self()
	return err == nil && st.Kind == rootfs.Socket && st.ID.Dev == own.ID.Dev
}

// restoreLog makes /dev/log what it was, unless it has become something else
// than what the repair made it.
func restoreLog(r *changes.Changes, dev *rootfs.Dir) error {
	l, err := dev.Listening(names.HostSocket)
	if err != nil {
		return err
	}
	if r.Renamed && (!r.Host || !l.Live) { // a daemon of the host's has taken its place
		return restoreAside(r, dev)
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
		l.Live = false // a container's, which is not to have the host's messages for good
	}
	switch hostSocket := prepared.Kind == rootfs.Socket; {
	case r.Host && hostSocket && l.Live:
		// The host's clients reach its socket at every instant.
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

// hasSharers says whether a container shares this host's /dev: it may rely on the link
// that the host was given. What cannot be found out counts as so.
func hasSharers() bool {
	list, err := hosts.List(repair.Options{Socket: names.DefaultSocket})
	return err != nil || len(list) > 0
}

// unpoint removes the link to the private socket from the place that /dev/log
// leads to.
func unpoint(r *changes.Changes, t *target.Target) error {
	if r.Pointed == "" {
		return nil
	}
	d, err := t.Root.Dir(path.Dir(r.Pointed))
	if err != nil {
		return nil //nolint:nilerr // it has gone, with what was in it
	}
	defer d.Close()
	name := path.Base(r.Pointed)
	if text, err := d.Readlink(name); err != nil || text != r.Socket {
		return nil //nolint:nilerr // it is somebody else's by now
	}
	return d.Unlink(name)
}

// isLink says whether the name is the link that the repair made.
func isLink(r *changes.Changes, dev *rootfs.Dir, name string, st rootfs.Stat) bool {
	if st.Kind != rootfs.Link {
		return false
	}
	text, err := dev.Readlink(name)
	return err == nil && text == r.Set
}

// restoreAside gives what was moved aside its name back, also where a repair
// or an undo was killed on the way.
func restoreAside(r *changes.Changes, dev *rootfs.Dir) error {
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
	case r.Set == "": // a socket was made there, to mount over
		if l, err := dev.Listening(names.Log); err != nil || l.Live || log.Kind != rootfs.Socket {
			return err
		}
		if err := devdir.Remove(dev, log.ID); err != nil {
			return err
		}
		return devdir.Changed(dev.RenameNew(names.Old, names.Log), unix.EEXIST)
	case isLink(r, dev, names.Log, log):
		// Exchanged, not renamed: it may be a directory.
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

// removeStale removes a socket that a killed receiver has left.
func removeStale(at *rootfs.Dir, name string) error {
	st, err := at.Lstat(name)
	if err != nil || st.Kind != rootfs.Socket {
		return err
	}
	if l, err := at.Listening(name); err != nil || l.Live {
		return err // of a daemon of the container's own
	}
	return at.Unlink(name)
}

// removeRest removes the record last: without it there is nothing to undo. It
// goes with the tmpfs, where one was mounted.
func removeRest(r *changes.Changes, t *target.Target, at *rootfs.Dir) error {
	changes.RemoveTemporary(at)
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
		parent, err := t.Root.Dir(path.Dir(dir))
		if err != nil {
			continue // gone, with what was in it
		}
		_ = parent.Rmdir(path.Base(dir)) // one in use by now stays
		parent.Close()
	}
	return nil
}
