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

// mountTmpfs mounts a tmpfs of the container's own for the socket.
func (w *work) mountTmpfs(dir string) error {
	d, made, err := w.target.Root.MkdirAll(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	w.made = append(w.made, made...)
	w.rollback = append(w.rollback, func() { removeDirs(made) })
	if err := w.contain(d); err != nil {
		return err
	}
	crash.Point()
	mounts := w.target.Mounts()
	if err := mounts.Tmpfs(d, w.target.UID, w.target.GID); err != nil {
		return err
	}
	w.rollback = append(w.rollback, func() {
		if top, err := w.target.Root.Dir(dir); err == nil {
			_ = mounts.Unmount(top, "")
			top.Close()
		}
	})
	return nil
}

// removeDirs removes those of the created directories that are empty.
func removeDirs(made []rootfs.Made) {
	for _, m := range slices.Backward(made) {
		_ = m.Remove()
	}
}

// prepare creates the socket's directory and records there what undo needs, before anything
// else is changed.
func (w *work) prepare(dir string) error {
	d, made, err := w.target.Root.MkdirAll(dir)
	if err != nil {
		return err
	}
	w.at = d
	w.made = append(w.made, made...)
	w.rollback = append(w.rollback, func() { removeDirs(made) })
	crash.Point()
	changes.RemoveTemporary(d)
	before := changes.Read(d)
	w.recorded = w.newRecord(before)
	if (w.plan.Has(plan.OpStart) || w.plan.Has(plan.OpWatch)) && w.options.Receiver.Handover == nil {
		if w.recorded.Starting, err = target.Namespace("self", "pid"); err != nil {
			return err
		}
	}
	if err := w.recorded.Write(d); err != nil {
		return err
	}
	w.rollback = append(w.rollback, func() {
		if before != nil {
			_ = before.Write(d)
		} else {
			_ = d.Unlink(names.Record)
		}
	})
	return nil
}

// newRecord returns what is recorded before the plan is carried out. What an earlier repair
// changed, and still applies, stays in the record.
func (w *work) newRecord(before *changes.Changes) changes.Changes {
	f, p := w.facts, w.plan
	r := changes.Changes{MountNS: w.target.MountNS, Before: changes.Before{Was: f.Log.Kind, WasLink: f.Log.Link, WasOwner: f.Log.Owner}, Socket: p.Socket, Pointed: p.Pointed(),
		Host: w.target.Host, Mounted: p.Has(plan.OpMount), Renamed: p.Has(plan.OpRename) && (w.target.Host || f.Dev.Sharing == plan.Private)}
	switch {
	case p.Restores(f): // it is no change of ours
		r.Before = changes.Before{Was: f.Former.Kind, WasLink: f.Former.Link}
	case p.Has(plan.OpLink) || p.Has(plan.OpPreserve):
		r.Set = f.Socket.Path
	}
	r.AddMade(w.made)
	r.Listen = recordedSockets(f.Listen, before)
	if before == nil { // a repair whose record is gone with its directory may have mounted
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
		r.Receiver, r.PIDNS, r.Started, r.Unit, r.Starting = before.Receiver, before.PIDNS, before.Started, before.Unit, before.Starting
		r.Mounted, r.Renamed = r.Mounted || before.Mounted, r.Renamed || before.Renamed
	}
	if before.Set != "" && w.target.Trusts(before) {
		r.Set, r.Was, r.WasLink, r.WasOwner, r.Renamed = before.Set, before.Was, before.WasLink, before.WasOwner, before.Renamed
	}
	return r
}

// listen binds the private socket. Messages are queued in it until the receiver has started.
func (w *work) listen(at string) error {
	name := path.Base(at)
	socket, id, err := w.at.Bind(func() (int, error) { return newSocket(w.target, w.options.Receiver.Unbound) }, name, w.inspected())
	if err != nil {
		return devdir.Changed(err, rootfs.ErrChanged)
	}
	w.socket = socket
	w.rollback = append(w.rollback, func() { unlinkOwn(w.at, name, id) })
	return nil
}

// point makes the path to which /dev/log points a link to the private socket.
func (w *work) point(at, text string) error {
	d, made, err := w.target.Root.MkdirAll(path.Dir(at))
	if err != nil {
		return err
	}
	w.pointed = d
	w.made = append(w.made, made...)
	w.rollback = append(w.rollback, func() { removeDirs(made) })
	if len(made) > 0 {
		w.recorded.AddMade(made)
		if err := w.recorded.Write(w.at); err != nil {
			return err
		}
	}
	crash.Point()
	dest := w.dest()
	name := path.Base(at)
	id, err := d.PutLink(text, name, rootfs.Stat{Kind: dest.Kind, ID: dest.ID})
	if err != nil {
		return devdir.Changed(err, rootfs.ErrChanged)
	}
	w.rollback = append(w.rollback, func() { unlinkOwn(d, name, id) })
	return nil
}

// unlinkOwn removes the name if it still has that file.
func unlinkOwn(d *rootfs.Dir, name string, id rootfs.ID) {
	if st, err := d.Lstat(name); err == nil && st.ID == id {
		_ = d.Unlink(name)
	}
}

// dest returns what was found where the link points from which the plan starts.
func (w *work) dest() plan.PathFacts {
	if w.plan.Restores(w.facts) {
		return w.facts.Former.Target
	}
	return w.facts.Log.Target
}

// inspected returns what was found at the private socket's path.
func (w *work) inspected() rootfs.Stat {
	at := w.facts.Socket
	if dest := w.dest(); dest.Path == w.plan.Socket {
		at = dest
	}
	if w.plan.Has(plan.OpTmpfs) { // it hides what was found
		at = plan.PathFacts{Kind: rootfs.Absent}
	}
	return rootfs.Stat{Kind: at.Kind, ID: at.ID}
}

// start starts the receiver and records which process it is.
func (w *work) start() error {
	var old *os.File
	if w.options.Receiver.Handover == nil {
		old = running.Process(&w.recorded, w.at) // before another process could be mistaken for it
	}
	if old != nil {
		defer old.Close()
	}
	job := launch.Job{Target: w.target, Files: w.passed(), Needs: w.rerunNeeds(), PrivateDev: w.facts.Dev.Sharing == plan.Private && !w.target.Host}
	if !w.options.NoAutoRepair || w.target.Host {
		var err error
		if job.Repair, err = rerunCommand(w.target, w.options); err != nil {
			return err
		}
	}
	var err error
	if job.Again, err = w.options.describe(); err != nil {
		return err
	}
	pid, end, err := w.options.Receiver.Start(job)
	if err != nil {
		return err
	}
	if pid == 0 { // a running receiver has taken over the socket
		w.started = len(w.rollback)
		return w.recordRunning()
	}
	w.rollback = append(w.rollback, end)
	crash.Point()
	if err := w.record(pid, w.options.Receiver.AtNode()); err != nil {
		return err
	}
	if old != nil {
		crash.Point()
		// This is an earlier receiver whose socket cannot be reached any more. On SIGTERM
		// it would continue until its container ends.
		running.Replace(old, w.at, pid)
	}
	w.recorded.Starting = 0
	if err := w.recorded.Write(w.at); err != nil {
		return err
	}
	w.started = len(w.rollback)
	return nil
}

// completeStart completes a repair that was killed while it started a receiver; see
// running.CompleteStart. It returns false if there was nothing to complete. A receiver that
// runs this repair can see no other.
func completeStart(t *target.Target, f plan.Facts, o Options) (completed bool, err error) {
	if o.Receiver.Handover != nil {
		return false, nil
	}
	for _, p := range []plan.PathFacts{f.Socket, f.Log.Target, f.Former.Target} {
		socket := p.Path
		if socket == "" || p.Sharing == plan.Shared {
			continue
		}
		at, err := t.Root.Dir(path.Dir(socket))
		if err != nil {
			continue // there is no record in it
		}
		if r := changes.Read(at); r != nil && r.MountNS == t.MountNS && path.Base(r.Socket) == path.Base(socket) && running.Sees(r, t) {
			completed, err = true, running.CompleteStart(r, at)
		}
		at.Close()
		if err != nil {
			return completed, err
		}
	}
	return completed, nil
}

// recordRunning records the receiver that took over the socket: its record may be gone with
// the directory.
func (w *work) recordRunning() error {
	peer, err := unix.GetsockoptUcred(int(w.options.Receiver.Handover.Fd()), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("cannot find the receiver: %w", err)
	}
	return w.record(int(peer.Pid), true)
}

// record records which process the receiver is and, if service, its systemd service.
func (w *work) record(pid int, service bool) (err error) {
	w.recorded.Receiver, w.recorded.Unit = pid, ""
	if w.recorded.PIDNS, err = target.Namespace("self", "pid"); err != nil {
		return err
	}
	shown, err := target.ShownPID(pid)
	if err == nil {
		w.recorded.Started, err = pidfd.StartTime(shown)
		if service {
			w.recorded.Unit = running.UnitOf(shown)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot find the receiver: %w", err)
	}
	return w.recorded.Write(w.at)
}
