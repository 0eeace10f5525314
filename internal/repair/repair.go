// Package repair owns the repair: it inspects, plans, carries the plan's steps out,
// and rolls completed steps back if one fails.
package repair

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/crash"
	"devlog/internal/devdir"
	"devlog/internal/failure"
	"devlog/internal/handover"
	"devlog/internal/inspect"
	"devlog/internal/launch"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
	"devlog/internal/target"
)

// renameOld renames /dev/log to names.Old, if it is what was inspected.
func (w *work) renameOld() error {
	err := devdir.Swap(w.dev, func() error {
		back, err := devdir.MoveOld(w.dev, w.facts.Log.ID)
		if back != nil {
			w.rollback = append(w.rollback, back)
		}
		return err
	})
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return &plan.Refusal{Reason: fmt.Sprintf("/dev/log is a %s that has a mount over it or in it: %v", w.facts.Log.Kind, err),
			Advice: "take the mount of /dev/log out of the container's configuration"}
	}
	return err
}

// Options are the options of a repair.
type Options struct {
	plan.Choice
	// Socket is the private socket's path in the container.
	Socket string
	// Known are more paths to which a shared /dev/log may point, from the administrator.
	Known []string
	// Listen are further sockets for the receiver, paths in the container.
	Listen []string
	// Typed says that a user typed the command, who may be able to become root.
	Typed bool
	// Receiver says which receiver to start, and how.
	Receiver launch.Receiver
	// contested says that others replace /dev/log all the time.
	contested bool
}

// Result is the result of a check or a repair.
type Result struct {
	Facts plan.Facts
	Plan  plan.Plan
	// Changed says that the plan was carried out.
	Changed bool
	// Hook is why the last hook could not repair; nil if not known. Check and Do leave it
	// to the caller.
	Hook *failure.Failure
	// Ignored is what to say of annotations that this version does not know, also left to the
	// caller.
	Ignored []string
}

// Works returns whether a message sent to /dev/log arrives where it should.
func (r Result) Works() bool { return r.Plan.Works() }

// MaxTries is how often a check or a repair starts again because somebody changed /dev/log meanwhile.
const MaxTries = 10

// Check inspects the target and plans. It changes nothing.
func Check(t *target.Target, o Options) (r Result, err error) {
	err = rootfs.As(t.UID, t.GID, func() error {
		err := devdir.ErrChanged
		for try := 0; try < MaxTries && errors.Is(err, devdir.ErrChanged); try++ {
			r, err = check(t, o)
		}
		return err
	})
	return r, err
}

func check(t *target.Target, o Options) (Result, error) {
	facts, err := inspect.Facts(t, o.Socket, o.Listen, o.Known...)
	if o.contested {
		facts, err = inspect.Contested(t, o.Socket, o.Listen)
	}
	if err != nil {
		return Result{}, refused(err)
	}
	o.NoAutoRepair = o.NoAutoRepair || !t.Lives()
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

// Do makes the target's /dev/log point to a private socket with a listener. It does nothing
// if that is so already. The error is a *plan.Refusal if a repair would not be safe. After
// any error the completed steps are rolled back.
func Do(t *target.Target, o Options) (r Result, err error) {
	err = rootfs.As(t.UID, t.GID, func() error {
		r, err = repair(t, o)
		return err
	})
	return r, err
}

func repair(t *target.Target, o Options) (Result, error) {
	defer t.Lock()()
	if o.Receiver.Handover != nil {
		signal.Ignore(unix.SIGTERM) // a receiver that ends stops only a repair that waits
	}
	o.NoAutoRepair = o.NoAutoRepair || !t.Lives()
	if err := clearDev(t); err != nil {
		return Result{}, err
	}
	for try := range MaxTries {
		// A receiver can start without the name, and repairs again once it can.
		o.contested = try == MaxTries-1 && !t.Host && !o.NoReceiver && !o.NoAutoRepair && o.Receiver.Handover == nil
		r, err := check(t, o)
		if errors.Is(err, devdir.ErrChanged) {
			continue
		}
		if err != nil {
			return r, err
		}
		if completed, err := completeStart(t, r.Facts, o); err != nil {
			return r, err
		} else if completed {
			continue
		}
		switch r.Plan.Verdict {
		case plan.Healthy:
			for _, text := range r.Plan.Unheard(r.Facts) {
				o.Receiver.Say(text)
			}
			return r, nil
		case plan.Refused:
			if t.Denied != nil {
				r.Plan.Reason += ": " + t.Denied.Error()
			}
			return r, &plan.Refusal{Reason: r.Plan.Reason, Advice: r.Plan.Advice}
		}
		if o.contested {
			r.Plan.Advice = contestedAdvice
		}
		err = apply(t, r.Facts, r.Plan, o)
		if errors.Is(err, devdir.ErrChanged) {
			continue
		}
		var denied *deniedError
		if errors.As(err, &denied) && t.Denied == nil { // there may be a plan without a mount
			t.Denied = denied
			continue
		}
		r.Changed = err == nil
		return r, refused(err)
	}
	return Result{}, fmt.Errorf("cannot repair /dev/log: %w %d times in a row; hint: find out who replaces it", devdir.ErrChanged, MaxTries)
}

// contestedAdvice is the advice if only the receiver could be started.
const contestedAdvice = "find out who replaces /dev/log all the time: the receiver repairs it as often as it may"

// deniedError says that a mount was denied although this process has CAP_SYS_ADMIN.
type deniedError struct{ error }

func (e *deniedError) Unwrap() error { return e.error }

// denied makes a *deniedError of the error with which AppArmor, SELinux or a seccomp filter
// denies a mount, and names the profile.
func denied(err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	if profile := confinedBy(); profile != "" {
		err = fmt.Errorf("%w (AppArmor profile %s)", err, profile)
	}
	return &deniedError{err}
}

// confinedBy returns this process's AppArmor profile (apparmor(7)); empty for none.
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

// refused makes a *plan.Refusal of a permission error.
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

// work is a plan that is being carried out.
type work struct {
	target  *target.Target
	facts   plan.Facts
	plan    plan.Plan
	options Options
	dev     *rootfs.Dir
	// at is the private socket's directory, recorded the record in it.
	at       *rootfs.Dir
	recorded changes.Changes
	// pointed is the directory in which a link to the socket was made.
	pointed *rootfs.Dir
	// made are the directories that were created for the socket and that link.
	made   []rootfs.Made
	socket *os.File
	// further are the further sockets, each followed by its name.
	further []handover.Passed
	// rollback undoes the completed steps and is called last first if a step fails. done
	// is called if none fails.
	rollback, done []func()
	// started is the length of rollback once a receiver has the socket; 0 before.
	started int
}

// apply carries the plan's steps out. If a step fails, it rolls the completed ones back. A
// receiver that was started stays if only /dev/log has changed: /dev/log may have pointed to
// its socket, and messages in its queue would be lost. The next try finds it.
func apply(t *target.Target, f plan.Facts, p plan.Plan, o Options) (err error) {
	if p.Has(plan.OpStart) || p.Has(plan.OpWatch) {
		if p.Advice != "" { // a hook's user only sees the container's messages
			o.Receiver.Notices = append(slices.Clone(o.Receiver.Notices), syslog.Escape(p.Advice))
		}
		if p.Has(plan.OpRename) {
			o.Receiver.Notices = append(slices.Clone(o.Receiver.Notices),
				fmt.Sprintf("/dev/log was a %s, and is %s now: check it, then remove it", f.Log.Kind, names.OldPath))
		}
		// As this program's own user: the container's root may not read the host's rules.
		if err := rootfs.AsSelf(func() error { return o.Receiver.Prepare(t) }); err != nil {
			return err
		}
	}
	for _, text := range p.Unheard(f) {
		o.Receiver.Say(text)
	}
	w := &work{target: t, facts: f, plan: p, options: o}
	defer func() {
		if err != nil {
			first := 0
			if errors.Is(err, devdir.ErrChanged) {
				first = w.started
			}
			for _, step := range slices.Backward(w.rollback[first:]) {
				step()
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
	for _, f := range w.further {
		f.File.Close()
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
	case plan.OpListenToo:
		w.listenToo(s.Path)
		return nil
	case plan.OpHand:
		return w.hand()
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
	return fmt.Errorf("cannot carry out the step %q: %w", s.Op, errors.ErrUnsupported)
}

// clearDev removes leftovers from /dev, also if there is nothing to repair.
func clearDev(t *target.Target) error {
	dev, err := t.Root.Dir(names.Dev)
	if err != nil {
		return nil //nolint:nilerr // the plan says why
	}
	defer dev.Close()
	for _, name := range rootfs.SharedTemps {
		if st, err := dev.Lstat(name); err == nil && st.Kind != rootfs.Absent && st.Kind != rootfs.Directory {
			return devdir.Swap(dev, func() error { return nil })
		}
	}
	return nil
}
