package devlog

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// listening is a socket that was made, and the directories made for it.
type listening struct {
	socket *os.File
	id     rootfs.ID
	dir    *rootfs.Dir
	name   string
	made   []rootfs.Made
}

func (l *listening) close() {
	l.socket.Close()
	l.dir.Close()
	for _, m := range l.made {
		m.Parent.Close()
	}
}

// remove removes the socket, unless somebody else has one of that name by now,
// and the directories that were made for it.
func (l *listening) remove() {
	if st, err := l.dir.Lstat(l.name); err == nil && st.ID == l.id {
		_ = l.dir.Unlink(l.name)
	}
	for i := len(l.made) - 1; i >= 0; i-- {
		_ = l.made[i].Remove() // one in use by now stays
	}
}

// listen binds the private socket. Messages sent to it wait there until the
// receiver has started.
func (w *work) listen(s Step) error {
	dir, made, err := w.target.root.MkdirAll(path.Dir(s.Path))
	if err != nil {
		return err
	}
	name := path.Base(s.Path)
	socket, id, err := dir.Bind(name)
	if err != nil {
		rootfs.RemoveAll(made)
		dir.Close()
		return err
	}
	w.listening = &listening{socket: socket, id: id, dir: dir, name: name, made: made}
	w.undo = append(w.undo, w.listening.remove)
	return nil
}

// start starts the receiver on the socket.
func (w *work) start() error {
	p, err := w.receiver.start(w.target, w.listening)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = p.Kill() })
	return nil
}

// link makes /dev/log a link, at no moment without something of that name, and
// replaces nothing but what was inspected.
func (w *work) link(s Step) error {
	switch w.facts.Log.Kind {
	case rootfs.Socket, rootfs.Link:
		return replaceWithLink(w.dev, s.Text, w.facts.Log.ID)
	}
	// There was nothing, or it was moved aside.
	err := w.dev.Symlink(s.Text, logName)
	if errors.Is(err, unix.EEXIST) {
		return errChanged
	}
	return err
}

// moveAside gives what stands at /dev/log another name.
func (w *work) moveAside(s Step) error {
	old := path.Base(s.Text)
	err := w.dev.RenameNew(logName, old)
	if err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = w.dev.RenameNew(old, logName) })
	if st, err := w.dev.Lstat(old); err != nil || st.ID != w.facts.Log.ID {
		return errors.Join(errChanged, err)
	}
	return nil
}

// replaceWithLink puts a link with this text in the place of the log that has
// that identity. Should the name be another file by now, that stays there and
// the error is errChanged: a daemon that has just bound its socket keeps it.
func replaceWithLink(d *rootfs.Dir, text string, old rootfs.ID) error {
	// Held, so that no newer file can have the same identity.
	held, st, err := d.Hold(logName)
	if errors.Is(err, unix.ENOENT) || err == nil && st.ID != old {
		err = errChanged
	}
	if held != nil {
		defer held.Close()
	}
	if err != nil {
		return err
	}
	tmp := rootfs.TempName(logName)
	if err := d.Symlink(text, tmp); err != nil {
		return err
	}
	link, ours, err := d.Hold(tmp)
	if err != nil {
		return errors.Join(err, d.Unlink(tmp))
	}
	defer link.Close()
	if err := d.Exchange(tmp, logName); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = errChanged
		}
		return errors.Join(err, d.Unlink(tmp))
	}
	out, err := d.Lstat(tmp)
	if err != nil {
		return err
	}
	if out.ID == old {
		return d.Unlink(tmp)
	}
	return errors.Join(errChanged, putBack(d, tmp, ours.ID))
}

// putBack gives the file tmp the name log back, where the link ours has stood
// for a moment, and removes what is left over.
func putBack(d *rootfs.Dir, tmp string, ours rootfs.ID) error {
	if err := d.RenameNew(tmp, logName); err == nil {
		return nil // somebody has removed the link
	}
	if err := d.Exchange(tmp, logName); err != nil {
		return err
	}
	out, err := d.Lstat(tmp)
	if err != nil {
		return err
	}
	if out.ID != ours {
		// In that moment somebody has put a file of his own there, which is
		// newer than the one put back: it stays.
		if err := d.Exchange(tmp, logName); err != nil {
			return err
		}
	}
	return d.Unlink(tmp)
}
