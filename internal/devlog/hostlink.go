package devlog

import (
	"errors"
	"fmt"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// makeHostLink makes the link on the host that leads its clients from where
// /dev/log will lead on to the host's socket.
func makeHostLink(host *rootfs.Root, at, text string) error {
	dir, _, err := host.MkdirAll(path.Dir(at))
	if err != nil {
		return err
	}
	defer dir.Close()
	name := path.Base(at)
	st, err := dir.Lstat(name)
	if err != nil {
		return err
	}
	switch st.Kind {
	case rootfs.Absent:
		return dir.Symlink(text, name)
	case rootfs.Link:
		if old, err := dir.Readlink(name); err != nil || old == text {
			return err
		}
	case rootfs.Socket:
		if l, err := dir.Listening(name); err != nil {
			return err
		} else if l.Live {
			return &Refusal{Reason: "somebody listens on " + at + " on the host",
				Advice: "undo the repair that was made there: devlog-hook undo"}
		}
	default:
		return &Refusal{Reason: fmt.Sprintf("%s on the host is a %s", at, st.Kind), Advice: "remove it"}
	}
	tmp := rootfs.TempName(name)
	if err := dir.Symlink(text, tmp); err != nil {
		return err
	}
	if err := dir.Rename(tmp, name); err != nil {
		_ = dir.Unlink(tmp)
		return err
	}
	return nil
}

// noteHost notes on the host what its undo needs, where it is prepared by the
// repair of a container: that one's undo leaves the host as it is, for others
// may rely on it by then.
func (w *work) noteHost(host *Target, dir string) error {
	d, made, err := host.root.MkdirAll(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if hostRecord(d) != nil {
		return nil
	}
	r := record{MountNS: host.mountNS, Was: w.facts.Log.Kind, WasLink: w.facts.Log.Link, WasOwner: w.facts.Log.Owner,
		Set: DefaultSocket, Socket: DefaultSocket, Host: true}
	for _, m := range made {
		r.Made = append(r.Made, path.Join(m.Parent.Path(), m.Name))
		m.Parent.Close()
	}
	return r.write(d)
}

// keepHost sees to it that the host's live socket has the name /dev/log, where
// that is not the link of the repair any more.
func keepHost(dev *rootfs.Dir, log rootfs.Stat) error {
	prepared, err := dev.Lstat(hostName)
	if err != nil || prepared.Kind != rootfs.Socket || prepared.ID == log.ID {
		return err
	}
	l, err := dev.Listening(hostName)
	if err != nil || !l.Live || foreignOnHost(prepared.ID) {
		return err
	}
	if now, err := dev.Listening(logName); err != nil {
		return err
	} else if now.Live {
		return &Refusal{Reason: "the host's daemon listens on /dev/" + hostName + " only, and somebody else on /dev/log",
			Advice: "end that one, and run this again"}
	}
	back := func(tmp string) error { return dev.Link(hostName, tmp, prepared.ID) }
	switch log.Kind {
	case rootfs.Absent:
		tmp, err := dev.Claim(back)
		if err != nil {
			return err
		}
		if err := dev.RenameNew(tmp, logName); err != nil {
			return errors.Join(changed(err, unix.EEXIST), dev.Unlink(tmp))
		}
		return nil
	case rootfs.Socket, rootfs.Link:
		return replace(dev, log.ID, back)
	}
	return &Refusal{Reason: fmt.Sprintf("/dev/log is a %s", log.Kind), Advice: "remove it, and run this again"}
}

// releaseHost removes what only a prepared host needs, once nobody can be on
// the way through it any more.
func (r *record) releaseHost(dev, at *rootfs.Dir) error {
	time.Sleep(resolveTime)
	// The lock may have been somebody else's: a container could have made the
	// link again, and the host would be cut off.
	if st, err := dev.Lstat(logName); err != nil || r.isLink(dev, logName, st) {
		return errors.Join(errChanged, err)
	}
	name := path.Base(DefaultSocket)
	if text, err := at.Readlink(name); err == nil && text == path.Join(devDir, hostName) {
		if err := at.Unlink(name); err != nil {
			return err
		}
	}
	if err := dev.Unlink(hostName); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}
