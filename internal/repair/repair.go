// Package repair owns the repair: it inspects, plans, carries the plan's steps out,
// and rolls completed steps back if one fails.
package repair

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/crash"
	"devlog/internal/daemon"
	"devlog/internal/devdir"
	"devlog/internal/failure"
	"devlog/internal/inspect"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
	"devlog/internal/target"
)

// renameOld gives what stands at /dev/log another name, if it is what was
// inspected.
func (w *work) renameOld() error {
	err := devdir.Swap(w.dev, func() error {
		back, err := devdir.MoveOld(w.dev, w.facts.Log.ID)
		if back != nil {
			w.undo = append(w.undo, back)
		}
		return err
	})
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return &plan.Refusal{Reason: fmt.Sprintf("/dev/log is a %s that something is mounted over, or in: %v", w.facts.Log.Kind, err),
			Advice: "take the mount of /dev/log out of the container's configuration"}
	}
	return err
}

// Options say how a repair is to be made.
type Options struct {
	plan.Choice
	// Socket is the private socket's path in the container.
	Socket string
	// Known are the places that the administrator knows a shared /dev/log to lead
	// to.
	Known []string
	// Typed says that somebody has typed the command, who can become root.
	Typed bool
	// Receiver says which receiver to start, and with what.
	Receiver launch.Receiver
}

// Result is what a repair has come to.
type Result struct {
	Facts plan.Facts
	Plan  plan.Plan
	// Changed says that the plan was carried out.
	Changed bool
	// Hook is why the last hook could not repair; nil if that is not known, or
	// not looked for.
	Hook *failure.Failure
}

// Works says that a message sent to /dev/log arrives where it should.
func (r Result) Works() bool { return r.Plan.Works() }

// Report writes the result in words.
func (r Result) Report(w io.Writer) error { return plan.Report(w, r.Facts, r.Plan, r.Hook.String()) }

// MaxTries is how often a repair starts again because somebody else changed
// /dev/log meanwhile.
const MaxTries = 10

// Check inspects the target and plans, and changes nothing.
func Check(t *target.Target, o Options) (r Result, err error) {
	err = rootfs.As(t.UID, t.GID, func() error {
		r, err = check(t, o)
		return err
	})
	if gone := &r.Facts.Receiver; gone.State == plan.Gone && gone.Unit != "" {
		gone.Reason = daemon.SaidLast(gone.Unit)
	}
	return r, err
}

func check(t *target.Target, o Options) (Result, error) {
	facts, err := inspect.Facts(t, o.Socket, o.Known...)
	if err != nil {
		return Result{}, refused(err)
	}
	o.NoHeal = o.NoHeal || !t.Lives()
	decide := plan.New
	if t.Host {
		decide = plan.NewHost
	}
	r := Result{Facts: facts, Plan: decide(facts, o.Choice)}
	if o.Typed && facts.NotRoot {
		r.Plan = plan.Advised(r.Plan, decide(facts.ToRoot(), o.Choice))
	}
	return r, nil
}

// Do makes /dev/log of the target lead to a private socket with a receiver
// behind it. Where that is so already it does nothing. The error is a *Refusal
// where a repair would not be safe; after any error the target is as it was.
func Do(t *target.Target, o Options) (r Result, err error) {
	err = rootfs.As(t.UID, t.GID, func() error {
		r, err = repair(t, o)
		return err
	})
	return r, err
}

func repair(t *target.Target, o Options) (Result, error) {
	defer t.Lock()()
	o.NoHeal = o.NoHeal || !t.Lives()
	if err := clearDev(t); err != nil {
		return Result{}, err
	}
	for range MaxTries {
		r, err := check(t, o)
		if errors.Is(err, devdir.ErrChanged) {
			continue
		}
		if err != nil {
			return r, err
		}
		switch r.Plan.Verdict {
		case plan.Healthy:
			return r, nil
		case plan.Refused:
			if t.Denied != nil {
				r.Plan.Reason += ": " + t.Denied.Error()
			}
			return r, &plan.Refusal{Reason: r.Plan.Reason, Advice: r.Plan.Advice}
		}
		err = apply(t, r.Facts, r.Plan, o)
		if errors.Is(err, devdir.ErrChanged) {
			continue
		}
		var denied *deniedError
		if errors.As(err, &denied) && t.Denied == nil { // there may be a way without
			t.Denied = denied
			continue
		}
		r.Changed = err == nil
		return r, refused(err)
	}
	return Result{}, fmt.Errorf("repair /dev/log: %w %d times in a row; find out who replaces it", devdir.ErrChanged, MaxTries)
}

// deniedError is a mount that was denied to a process with CAP_SYS_ADMIN.
type deniedError struct{ error }

func (e *deniedError) Unwrap() error { return e.error }

// denied makes a *deniedError of an error that AppArmor, SELinux or a seccomp
// filter answers a mount with, and names the profile.
func denied(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	if profile := confinedBy(); profile != "" {
		err = fmt.Errorf("%w (AppArmor profile %s)", err, profile)
	}
	return &deniedError{err}
}

// confinedBy is the AppArmor profile of this process (apparmor(7)); empty for
// none.
func confinedBy() string {
	for _, file := range []string{"/proc/self/attr/apparmor/current", "/proc/self/attr/current"} {
		text, err := os.ReadFile(file)
		profile, _, found := strings.Cut(strings.TrimSpace(string(text)), " (") // profile (mode)
		if err == nil && found {
			return profile
		}
	}
	return ""
}

// refused makes a *Refusal of an error that says that this process may not do
// that, whatever denied it.
func refused(err error) error {
	var refusal *plan.Refusal
	if err == nil || errors.As(err, &refusal) || !errors.Is(err, os.ErrPermission) {
		return err
	}
	if os.Geteuid() != 0 {
		return &plan.Refusal{Reason: err.Error(), Advice: plan.RunAsRoot}
	}
	return &plan.Refusal{Reason: err.Error(), Advice: plan.RepairHost}
}

// work is a plan being carried out.
type work struct {
	target  *target.Target
	facts   plan.Facts
	plan    plan.Plan
	options Options
	dev     *rootfs.Dir
	// at is the private socket's directory, noted what is noted there.
	at    *rootfs.Dir
	noted changes.Changes
	// pointed is the directory of the place that was made a link to the socket.
	pointed *rootfs.Dir
	// made are the directories that were made for the socket and that link.
	made   []rootfs.Made
	socket *os.File
	// undo takes the steps back, last first; done is called when there is nothing
	// to take back any more.
	undo, done []func()
}

// apply carries the plan's steps out. Where one fails it takes those before it
// back.
func apply(t *target.Target, f plan.Facts, p plan.Plan, o Options) (err error) {
	if p.Has(plan.OpStart) || p.Has(plan.OpWatch) {
		if p.Advice != "" { // a hook's user sees the container's messages alone
			o.Receiver.Notices = append(slices.Clone(o.Receiver.Notices), syslog.Escape(p.Advice))
		}
		if p.Has(plan.OpRename) {
			o.Receiver.Notices = append(slices.Clone(o.Receiver.Notices),
				fmt.Sprintf("/dev/log was a %s, and is %s now: look at it, then remove it", f.Log.Kind, names.OldPath))
		}
		// The rules are the host's, not for a container's root to be readable.
		if err := rootfs.AsSelf(func() error { return o.Receiver.Prepare(t) }); err != nil {
			return err
		}
	}
	w := &work{target: t, facts: f, plan: p, options: o}
	defer func() {
		if err != nil {
			for _, undo := range slices.Backward(w.undo) {
				undo()
			}
		} else {
			for _, done := range w.done {
				done()
			}
		}
		w.close()
	}()
	if w.dev, err = t.Root.Dir(names.Dev); err != nil {
		return err
	}
	for _, s := range p.Steps {
		if err := w.do(s); err != nil {
			return err
		}
		crash.Point()
	}
	return nil
}

func (w *work) close() {
	for _, d := range []*rootfs.Dir{w.dev, w.at, w.pointed} {
		if d != nil {
			d.Close()
		}
	}
	for _, m := range w.made {
		m.Parent.Close()
	}
	if w.socket != nil {
		w.socket.Close()
	}
}

func (w *work) do(s plan.Step) error {
	switch s.Op {
	case plan.OpTmpfs:
		return denied(w.mountTmpfs(s.Path))
	case plan.OpPrepare:
		return w.prepare(s.Path)
	case plan.OpListen:
		return w.listen(s.Path)
	case plan.OpPoint:
		return w.point(s.Path, s.Text)
	case plan.OpStart, plan.OpWatch:
		return w.start()
	case plan.OpRename:
		return w.renameOld()
	case plan.OpHostLink:
		return w.hostLink(s.Path, s.Text)
	case plan.OpLink:
		return w.link(s.Text)
	case plan.OpPreserve:
		return w.preserve(s.Text)
	case plan.OpUnmount:
		return denied(w.unmountDead())
	case plan.OpPlaceholder:
		return w.makePlaceholder()
	case plan.OpMount:
		return denied(w.mount(s.Text))
	}
	return fmt.Errorf("carry out the step %q: %w", s.Op, errors.ErrUnsupported)
}

// clearDev clears /dev of leftovers, also where there is nothing to repair.
func clearDev(t *target.Target) error {
	dev, err := t.Root.Dir(names.Dev)
	if err != nil {
		return nil //nolint:nilerr // the plan says what is wrong with it
	}
	defer dev.Close()
	for _, name := range rootfs.SharedTemps {
		if st, err := dev.Lstat(name); err == nil && st.Kind != rootfs.Absent && st.Kind != rootfs.Directory {
			return devdir.Swap(dev, func() error { return nil })
		}
	}
	return nil
}
