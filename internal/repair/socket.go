package repair

import (
	"fmt"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/crash"
	"devlog/internal/devdir"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/running"
	"devlog/internal/target"
)

// mountTmpfs gives the container a directory of its own for the socket.
func (w *work) mountTmpfs(dir string) error {
	d, made, err := w.target.Root.MkdirAll(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	w.made = append(w.made, made...)
	w.undo = append(w.undo, func() { removeDirs(made) })
	if err := w.contain(d); err != nil {
		return err
	}
	crash.Point()
	mounts := w.target.Mounts()
	if err := mounts.Tmpfs(d, w.target.UID, w.target.GID); err != nil {
		return err
	}
	w.undo = append(w.undo, func() {
		if top, err := w.target.Root.Dir(dir); err == nil {
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
	d, made, err := w.target.Root.MkdirAll(dir)
	if err != nil {
		return err
	}
	w.at = d
	w.made = append(w.made, made...)
	w.undo = append(w.undo, func() { removeDirs(made) })
	crash.Point()
	changes.RemoveTemporary(d)
	before := changes.Read(d)
	w.noted = w.newRecord(before)
	if err := w.noted.Write(d); err != nil {
		return err
	}
	w.undo = append(w.undo, func() {
		if before != nil {
			_ = before.Write(d)
		} else {
			_ = d.Unlink(names.Record)
		}
	})
	return nil
}

// newRecord is what is noted before the plan is carried out. What an earlier
// repair changed, and is still so, stays noted as that repair found it.
func (w *work) newRecord(before *changes.Changes) changes.Changes {
	f, p := w.facts, w.plan
	r := changes.Changes{MountNS: w.target.MountNS, Was: f.Log.Kind, WasLink: f.Log.Link, WasOwner: f.Log.Owner, Socket: p.Socket,
		Host: w.target.Host, Mounted: p.Has(plan.OpMount), Renamed: p.Has(plan.OpRename) && (w.target.Host || f.Dev.Sharing == plan.Private)}
	if p.Has(plan.OpLink) || p.Has(plan.OpPreserve) {
		r.Set = f.Socket.Path
	}
	if p.Has(plan.OpPoint) {
		r.Pointed = f.Log.Leads.Path
	}
	r.AddMade(w.made)
	if before == nil { // one that has gone with its directory may have mounted
		over, err := w.dev.MountedOver(names.Log)
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
		r.Mounted, r.Renamed = r.Mounted || before.Mounted, r.Renamed || before.Renamed
	}
	if before.Set != "" && w.target.Trusts(before) {
		r.Set, r.Was, r.WasLink, r.WasOwner, r.Renamed = before.Set, before.Was, before.WasLink, before.WasOwner, before.Renamed
	}
	return r
}

// listen binds the private socket. Messages sent to it wait there until the
// receiver has started.
func (w *work) listen(at string) error {
	name := path.Base(at)
	socket, id, err := w.at.Bind(func() (int, error) { return newSocket(w.target) }, name, w.inspected())
	if err != nil {
		return devdir.Changed(err, rootfs.ErrChanged)
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
	d, made, err := w.target.Root.MkdirAll(path.Dir(at))
	if err != nil {
		return err
	}
	w.pointed = d
	w.made = append(w.made, made...)
	w.undo = append(w.undo, func() { removeDirs(made) })
	if len(made) > 0 {
		w.noted.AddMade(made)
		if err := w.noted.Write(w.at); err != nil {
			return err
		}
	}
	crash.Point()
	leads := w.facts.Log.Leads
	id, err := d.PutLink(text, path.Base(at), rootfs.Stat{Kind: leads.Kind, ID: leads.ID})
	if err != nil {
		return devdir.Changed(err, rootfs.ErrChanged)
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
	if w.plan.Has(plan.OpTmpfs) { // which hides it
		at = plan.PathFacts{Kind: rootfs.Absent}
	}
	return rootfs.Stat{Kind: at.Kind, ID: at.ID}
}

// start starts the receiver and notes which process it is.
func (w *work) start() error {
	var old *os.File
	if w.options.Receiver.Handover == nil {
		old = running.Process(&w.noted, w.at) // before there is another one that could be taken for it
	}
	if old != nil {
		defer old.Close()
	}
	job := launch.Job{Target: w.target, Files: w.passed(), Needs: w.healNeeds()}
	if !w.options.NoHeal || w.target.Host {
		var err error
		if job.Repair, err = healCommand(w.target, w.options); err != nil {
			return err
		}
	}
	pid, end, err := w.options.Receiver.Start(job)
	if err != nil {
		return err
	}
	if pid == 0 { // a running one has taken the socket over
		return w.noteRunning()
	}
	w.undo = append(w.undo, end)
	crash.Point()
	if err := w.note(pid, w.options.Receiver.Supervise == launch.Systemd); err != nil {
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
	if w.noted.PIDNS, err = target.Namespace("self", "pid"); err != nil {
		return err
	}
	shown, err := target.ShownPID(pid)
	if err == nil {
		w.noted.Started, err = pidfd.StartTime(shown)
		if service {
			w.noted.Unit = running.UnitOf(shown)
		}
	}
	if err != nil {
		return fmt.Errorf("find the receiver: %w", err)
	}
	return w.noted.Write(w.at)
}
