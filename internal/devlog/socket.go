package devlog

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
)

// mountTmpfs gives the container a directory of its own for the socket.
func (w *work) mountTmpfs(dir string) error {
	d, made, err := w.target.root.MkdirAll(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	w.made = append(w.made, made...)
	w.undo = append(w.undo, func() { removeDirs(made) })
	if err := w.contain(d); err != nil {
		return err
	}
	checkpoint()
	mounts := w.target.mounts()
	if err := mounts.Tmpfs(d, w.target.uid, w.target.gid); err != nil {
		return err
	}
	w.undo = append(w.undo, func() {
		if top, err := w.target.root.Dir(dir); err == nil {
			_ = mounts.Unmount(top, "")
			top.Close()
		}
	})
	return nil
}

// removeDirs removes the directories that were made, as far as they are empty.
func removeDirs(made []rootfs.Made) {
	for _, m := range slices.Backward(made) {
		_ = m.Remove()
	}
}

// prepare makes the socket's directory and notes there what undo needs, before
// anything else is changed.
func (w *work) prepare(dir string) error {
	d, made, err := w.target.root.MkdirAll(dir)
	if err != nil {
		return err
	}
	w.at = d
	w.made = append(w.made, made...)
	w.undo = append(w.undo, func() { removeDirs(made) })
	checkpoint()
	clearTemporary(d)
	before := readRecord(d)
	w.noted = w.newRecord(before)
	if err := w.noted.write(d); err != nil {
		return err
	}
	w.undo = append(w.undo, func() {
		if before != nil {
			_ = before.write(d)
		} else {
			_ = d.Unlink(recordName)
		}
	})
	return nil
}

// maxLeftovers is how many names are looked at for leftovers; the container can make
// as many as it likes.
const maxLeftovers = 1024

// clearTemporary removes what a killed repair was about to make in the private
// socket's directory. Repairs of one container are never made at the same time.
func clearTemporary(d *rootfs.Dir) {
	names, err := d.Names(maxLeftovers)
	if err != nil {
		return // it may be entered and not read
	}
	for _, name := range names {
		if strings.HasPrefix(name, rootfs.TempPrefix) {
			_ = d.Unlink(name)
		}
	}
}

// newRecord is what is noted before the plan is carried out. What an earlier
// repair changed, and is still so, stays noted as that repair found it.
func (w *work) newRecord(before *record) record {
	f, p := w.facts, w.plan
	r := record{MountNS: w.target.mountNS, Was: f.Log.Kind, WasLink: f.Log.Link, WasOwner: f.Log.Owner, Socket: p.Socket,
		Host: w.target.host, Mounted: p.has(OpMount), Aside: p.has(OpMoveAside) && (w.target.host || f.Dev.Sharing == Private)}
	if p.has(OpLink) || p.has(OpPreserve) {
		r.Set = f.Socket.Path
	}
	if p.has(OpPoint) {
		r.Pointed = f.Log.Leads.Path
	}
	r.addMade(w.made)
	if before == nil { // one that has gone with its directory may have mounted
		over, err := w.dev.MountedOver(logName)
		r.Mounted = r.Mounted || err == nil && over && f.Log.Kind == rootfs.Link
		return r
	}
	for _, dir := range before.Made {
		if !slices.Contains(r.Made, dir) {
			r.Made = append(r.Made, dir)
		}
	}
	slices.Sort(r.Made) // outermost first
	if r.Pointed == "" {
		r.Pointed = before.Pointed
	}
	if before.MountNS == r.MountNS {
		r.Receiver, r.PIDNS, r.Started, r.Unit = before.Receiver, before.PIDNS, before.Started, before.Unit
		r.Mounted, r.Aside = r.Mounted || before.Mounted, r.Aside || before.Aside
	}
	if before.Set != "" && before.trusted(w.target) {
		r.Set, r.Was, r.WasLink, r.WasOwner, r.Aside = before.Set, before.Was, before.WasLink, before.WasOwner, before.Aside
	}
	return r
}

// listen binds the private socket. Messages sent to it wait there until the
// receiver has started.
func (w *work) listen(at string) error {
	name := path.Base(at)
	socket, id, err := w.at.Bind(w.target.newSocket, name, w.inspected())
	if err != nil {
		return changed(err, rootfs.ErrChanged)
	}
	w.socket = socket
	w.undo = append(w.undo, func() {
		if st, err := w.at.Lstat(name); err == nil && st.ID == id {
			_ = w.at.Unlink(name)
		}
	})
	return nil
}

// point makes the place that /dev/log leads to a link to the private socket.
func (w *work) point(at, text string) error {
	d, made, err := w.target.root.MkdirAll(path.Dir(at))
	if err != nil {
		return err
	}
	w.pointed = d
	w.made = append(w.made, made...)
	w.undo = append(w.undo, func() { removeDirs(made) })
	if len(made) > 0 {
		w.noted.addMade(made)
		if err := w.noted.write(w.at); err != nil {
			return err
		}
	}
	checkpoint()
	leads := w.facts.Log.Leads
	id, err := d.PutLink(text, path.Base(at), rootfs.Stat{Kind: leads.Kind, ID: leads.ID})
	if err != nil {
		return changed(err, rootfs.ErrChanged)
	}
	w.undo = append(w.undo, func() {
		if st, err := d.Lstat(path.Base(at)); err == nil && st.ID == id {
			_ = d.Unlink(path.Base(at))
		}
	})
	return nil
}

// inspected is what was found where the private socket is to be.
func (w *work) inspected() rootfs.Stat {
	at := w.facts.Socket
	if w.facts.Log.Leads.Path == w.plan.Socket {
		at = w.facts.Log.Leads
	}
	if w.plan.has(OpTmpfs) { // which hides it
		at = PlaceFacts{Kind: rootfs.Absent}
	}
	return rootfs.Stat{Kind: at.Kind, ID: at.ID}
}

// start starts the receiver and notes which process it is.
func (w *work) start() error {
	var old *os.File
	if w.options.Receiver.Handover == nil {
		old = w.noted.process(w.at) // before there is another one that could be taken for it
	}
	if old != nil {
		defer old.Close()
	}
	pid, end, err := w.options.Receiver.start(w)
	if err != nil {
		return err
	}
	if pid == 0 { // a running one has taken the socket over
		return w.noteRunning()
	}
	w.undo = append(w.undo, end)
	checkpoint()
	if err := w.note(pid, w.options.Receiver.Supervise == Systemd); err != nil {
		return err
	}
	if old != nil {
		// An earlier receiver whose socket nobody finds any more. On SIGTERM it goes
		// on until its container ends.
		_ = unix.PidfdSendSignal(int(old.Fd()), unix.SIGINT, nil, 0)
	}
	return nil
}

// noteRunning notes the receiver to which the socket was handed over: its
// record may have gone together with the directory.
func (w *work) noteRunning() error {
	peer, err := unix.GetsockoptUcred(int(w.options.Receiver.Handover.Fd()), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("find the receiver: %w", err)
	}
	return w.note(int(peer.Pid), true)
}

// note writes down which process the receiver is, and, if it may be one, which
// service of systemd's.
func (w *work) note(pid int, service bool) (err error) {
	w.noted.Receiver, w.noted.Unit = pid, ""
	if w.noted.PIDNS, err = namespace("self", "pid"); err != nil {
		return err
	}
	shown, err := shownPID(pid)
	if err == nil {
		w.noted.Started, err = pidfd.StartTime(shown)
		if service {
			w.noted.Unit = unitOf(shown)
		}
	}
	if err != nil {
		return fmt.Errorf("find the receiver: %w", err)
	}
	return w.noted.write(w.at)
}
