package undo

import (
	"errors"
	"fmt"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/devdir"
	"devlog/internal/inspect"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
)

// restoreHostName renames the host's live socket back to /dev/log, if /dev/log is no longer
// the repair's link.
func restoreHostName(dev *rootfs.Dir, log rootfs.Stat) error {
	prepared, err := dev.Lstat(names.HostSocket)
	if err != nil || prepared.Kind != rootfs.Socket || prepared.ID == log.ID {
		return err
	}
	l, err := dev.Listening(names.HostSocket)
	if err != nil || !l.Live || inspect.ForeignOnHost(prepared.ID) {
		return err
	}
	if now, err := dev.Listening(names.Log); err != nil {
		return err
	} else if now.Live {
		return &plan.Refusal{Reason: "the host's daemon listens only on /dev/" + names.HostSocket + ", and somebody else on /dev/log",
			Advice: "end the other daemon, then run this again"}
	}
	back := func(tmp string) error { return dev.Link(names.HostSocket, tmp, prepared.ID) }
	switch log.Kind {
	case rootfs.Absent:
		tmp, err := dev.Claim(back)
		if err != nil {
			return err
		}
		if err := dev.RenameNew(tmp, names.Log); err != nil {
			return errors.Join(devdir.Changed(err, unix.EEXIST), dev.Unlink(tmp))
		}
		return nil
	case rootfs.Socket, rootfs.Link:
		return devdir.Replace(dev, log.ID, back)
	}
	return &plan.Refusal{Reason: fmt.Sprintf("/dev/log is a %s", log.Kind), Advice: "remove it, then run this again"}
}

// releaseHost removes what only a prepared host needs, after the time in which a client may
// still follow the link.
func releaseHost(r *changes.Changes, dev, at *rootfs.Dir) error {
	time.Sleep(resolveTime)
	// Somebody else may have held the lock. If a container has made the link again, removing
	// the socket would cut the host off.
	if st, err := dev.Lstat(names.Log); err != nil || isLink(r, dev, names.Log, st) {
		return errors.Join(devdir.ErrChanged, err)
	}
	name := path.Base(names.DefaultSocket)
	if text, err := at.Readlink(name); err == nil && text == path.Join(names.Dev, names.HostSocket) {
		if err := at.Unlink(name); err != nil {
			return err
		}
	}
	if err := dev.Unlink(names.HostSocket); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
