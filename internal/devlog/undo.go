package devlog

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

const (
	// endTimeout is how long a receiver may take to write what it has and end.
	endTimeout = 15 * time.Second
	// resolveTime is how long a client may take from reading /dev/log, a link,
	// to following it: what it leads to is there for so much longer.
	resolveTime = 250 * time.Millisecond
)

// Undo puts back what repairs of the target have changed, and ends its
// receiver, which first writes what it has. It returns false if there was
// nothing to undo.
func Undo(t *Target, socket string) (undone bool, err error) {
	err = rootfs.As(t.uid, t.gid, func() error {
		defer lock(t)()
		undone, err = undo(t, socket)
		return err
	})
	return undone, err
}

// Prepared says that the host whose /dev the target has is prepared.
func Prepared(t *Target) bool {
	dev, err := t.root.Dir(devDir)
	if err != nil {
		return false
	}
	defer dev.Close()
	st, err := dev.Lstat(hostName)
	return err == nil && st.Kind == rootfs.Socket
}

func undo(t *Target, socket string) (bool, error) {
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
func undoAt(t *Target, dir string) (undone bool, err error) {
	at, err := t.root.Dir(dir)
	for errors.Is(err, unix.ENOENT) && dir != "/" {
		dir = path.Dir(dir)
		at, err = t.root.Dir(dir)
	}
	if err != nil {
		return false, err
	}
	defer at.Close()
	if r := readRecord(at); r != nil && r.Host == t.host {
		if err := r.mayUndo(t); err != nil {
			return false, err
		}
		if err := at.Writable(); errors.Is(err, os.ErrPermission) { // before anything is half undone
			return false, fmt.Errorf("undo the repair that is noted in %s: %w", dir, err)
		}
		return true, r.undo(t, at)
	} else if r != nil && r.Host && r.MountNS == t.mountNS {
		return false, &Refusal{Reason: "this was prepared as a host", Advice: "run devlog-hook undo --host"}
	}
	// A repair that was killed before it could note anything has mounted a
	// tmpfs at most.
	top := t.ownTmpfs(at)
	if top == nil {
		return false, nil
	}
	defer top.Close()
	return true, t.mounts().Unmount(top, "")
}

// mayUndo says why a repair cannot be undone from here: a receiver that runs on
// the host would make it again.
func (r *record) mayUndo(t *Target) error {
	own, err := namespace("self", "pid")
	if err != nil {
		return err
	}
	if t.inside && !t.host && r.Receiver > 0 && r.PIDNS != own && r.MountNS == t.mountNS {
		return &Refusal{Reason: "the receiver runs on the host, where it cannot be ended from in here",
			Advice: "run devlog-hook undo --pid there, or end the container"}
	}
	return nil
}

// recordDirs are the directories in which a repair may have left its record:
// beside the socket, and beside where /dev/log leads.
func recordDirs(t *Target, socket string) ([]string, error) {
	dirs := []string{path.Dir(socket)}
	if t.host {
		return dirs, nil
	}
	p, err := t.root.Resolve(logPath)
	if err != nil {
		return nil, err
	}
	p.Close()
	if dir := path.Dir(p.Path); p.Blocked == nil && !slices.Contains(dirs, dir) {
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// undo puts back what the record in the directory says, in an order in which a
// second call can go on where a first one has ended.
func (r *record) undo(t *Target, at *rootfs.Dir) error {
	dev, err := t.root.Dir(devDir)
	if err != nil {
		return err
	}
	defer dev.Close()
	sameNS := r.MountNS == t.mountNS
	if !r.trusted(t) {
		r.Set, r.Pointed = "", ""
	}
	if r.Host { // receives nothing, and would prepare it again
		if err := endReceivers(at); err != nil {
			return err
		}
		checkpoint()
	}
	// First the name, so that no more messages come in behind it.
	if r.Mounted && sameNS {
		if over, err := dev.MountedOver(logName); err != nil {
			return err
		} else if over && ourMount(dev, at) {
			// Without the link no receiver mounts it again meanwhile.
			if err := at.Unlink(overName); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			checkpoint()
			if err := t.mounts().Unmount(dev, logName); err != nil {
				return err
			}
		}
	}
	checkpoint()
	if err := r.unpoint(t); err != nil {
		return err
	}
	checkpoint()
	if r.Host && r.Aside && hasSharers() {
		r.Aside = false
	}
	err = errChanged
	for tries := 0; r.Host && errors.Is(err, errChanged) && tries < maxTries || tries == 0; tries++ {
		err = swap(dev, func() error { return r.giveBack(dev, at) })
	}
	if err != nil {
		return err
	}
	checkpoint()
	if err := endReceivers(at); err != nil {
		return err
	}
	checkpoint()
	if !r.Host {
		if err := removeStale(at, path.Base(r.Socket)); err != nil {
			return err
		}
	}
	checkpoint()
	return r.removeRest(t, at)
}

// giveBack gives /dev/log back to whoever had it.
func (r *record) giveBack(dev, at *rootfs.Dir) error {
	err := r.restoreLog(dev)
	if err != nil && !errors.Is(err, errChanged) { // what somebody else has put there stays
		return err
	}
	if r.Host { // before a container that finds the host still prepared makes its link again
		return r.releaseHost(dev, at)
	}
	return nil
}

// ourMount says whether what is mounted over /dev/log is what a repair mounts:
// a link, which nobody else mounts, or, on kernels that cannot mount links, a
// socket of the private socket's file system.
func ourMount(dev, at *rootfs.Dir) bool {
	st, err := dev.Lstat(logName)
	if err != nil || st.Kind == rootfs.Link {
		return err == nil
	}
	own, err := at.Self()
	return err == nil && st.Kind == rootfs.Socket && st.ID.Dev == own.ID.Dev
}

// restoreLog makes /dev/log what it was, unless it has become something else
// than what the repair made it.
func (r *record) restoreLog(dev *rootfs.Dir) error {
	l, err := dev.Listening(hostName)
	if err != nil {
		return err
	}
	if r.Aside && (!r.Host || !l.Live) { // a daemon of the host's has taken its place
		return r.restoreAside(dev)
	}
	if r.Set == "" {
		return nil
	}
	st, err := dev.Lstat(logName)
	if err != nil {
		return err
	}
	if !r.isLink(dev, logName, st) {
		if r.Host {
			return keepHost(dev, st)
		}
		return nil
	}
	prepared, err := dev.Lstat(hostName)
	if err != nil {
		return err
	}
	if l.Live && r.Host && foreignOnHost(prepared.ID) {
		l.Live = false // a container's, which is not to have the host's messages for good
	}
	switch hostSocket := prepared.Kind == rootfs.Socket; {
	case r.Host && hostSocket && l.Live:
		// The host's clients reach its socket at every instant.
		return replace(dev, st.ID, func(tmp string) error { return dev.Link(hostName, tmp, prepared.ID) })
	case hostSocket && !r.Host:
		return nil // a prepared host stays prepared
	case r.Was == rootfs.Link:
		return replace(dev, st.ID, func(tmp string) error { return dev.Symlink(r.WasLink, tmp) })
	case r.Was == rootfs.Socket:
		return replace(dev, st.ID, func(tmp string) error { return dev.MakeSocketFile(tmp, r.WasOwner) })
	default:
		return takeAway(dev, st.ID)
	}
}

// hasSharers says whether a container shares this host's /dev: it may rely on the link
// that the host was given. What cannot be found out counts as so.
func hasSharers() bool {
	list, err := Sharers(Options{Socket: DefaultSocket})
	return err != nil || len(list) > 0
}

// unpoint removes the link to the private socket from the place that /dev/log
// leads to.
func (r *record) unpoint(t *Target) error {
	if r.Pointed == "" {
		return nil
	}
	d, err := t.root.Dir(path.Dir(r.Pointed))
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
func (r *record) isLink(dev *rootfs.Dir, name string, st rootfs.Stat) bool {
	if st.Kind != rootfs.Link {
		return false
	}
	text, err := dev.Readlink(name)
	return err == nil && text == r.Set
}

// restoreAside gives what was moved aside its name back, also where a repair
// or an undo was killed on the way.
func (r *record) restoreAside(dev *rootfs.Dir) error {
	log, err := dev.Lstat(logName)
	if err != nil {
		return err
	}
	old, err := dev.Lstat(asideName)
	switch {
	case err != nil || old.Kind == rootfs.Absent:
		return err
	case log.Kind == rootfs.Absent:
		return changed(dev.RenameNew(asideName, logName), unix.EEXIST)
	case r.Set == "": // a socket was made there, to mount over
		if l, err := dev.Listening(logName); err != nil || l.Live || log.Kind != rootfs.Socket {
			return err
		}
		if err := takeAway(dev, log.ID); err != nil {
			return err
		}
		return changed(dev.RenameNew(asideName, logName), unix.EEXIST)
	case r.isLink(dev, logName, log):
		// Exchanged, not renamed: it may be a directory.
		if err := dev.Exchange(asideName, logName); err != nil {
			return changed(err, unix.ENOENT)
		}
		checkpoint()
		if old, err = dev.Lstat(asideName); err != nil {
			return err
		}
	}
	if r.isLink(dev, asideName, old) {
		return dev.Unlink(asideName)
	}
	return nil
}

// takeAway removes the log that has that identity, and no other.
func takeAway(dev *rootfs.Dir, id rootfs.ID) error {
	tmp, err := dev.Claim(func(tmp string) error { return dev.RenameNew(logName, tmp) })
	if err != nil {
		return changed(err, unix.ENOENT)
	}
	if st, err := lookOwn(dev, tmp); err != nil || st.ID != id {
		return errors.Join(errChanged, err, dev.RenameNew(tmp, logName))
	}
	return dev.Unlink(tmp)
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
func (r *record) removeRest(t *Target, at *rootfs.Dir) error {
	clearTemporary(at)
	for _, name := range []string{overName, recordName} {
		if top := t.ownTmpfs(at); top != nil && name == recordName {
			err := t.mounts().Unmount(top, "")
			top.Close()
			if err != nil {
				return err
			}
			checkpoint()
		} else if err := at.Unlink(name); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for _, dir := range slices.Backward(r.Made) {
		parent, err := t.root.Dir(path.Dir(dir))
		if err != nil {
			continue // gone, with what was in it
		}
		_ = parent.Rmdir(path.Base(dir)) // one in use by now stays
		parent.Close()
	}
	return nil
}
