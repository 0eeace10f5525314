package devlog

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"devlog/internal/daemon"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
)

// Options say how a repair is to be made.
type Options struct {
	Choice
	// Socket is the private socket's path in the container.
	Socket string
	// Known are the places that the administrator knows a shared /dev/log to lead
	// to.
	Known []string
	// Typed says that somebody has typed the command, who can become root.
	Typed bool
	// Receiver says which receiver to start, and with what.
	Receiver Receiver
}

// Result is what a repair has come to.
type Result struct {
	Facts Facts
	Plan  Plan
	// Changed says that the plan was carried out.
	Changed bool
	// Hook is why the last hook could not repair; nil if that is not known, or
	// not looked for.
	Hook *HookFailure
}

// Works says that a message sent to /dev/log arrives where it should.
func (r Result) Works() bool {
	return r.Plan.Verdict == Healthy && r.Plan.Advice == ""
}

const (
	// lockTimeout is how long a repair waits for another one of the same
	// container, which takes milliseconds.
	lockTimeout = 5 * time.Second
	// maxTries is how often a repair begins anew because somebody else
	// changed /dev/log meanwhile.
	maxTries = 10
)

// lock keeps other repairs of the same container out until the function that
// it returns is called. Any user in the container can hold the lock, so it is
// not waited for without end: each step is safe without it, but two receivers
// may be started.
func lock(t *Target) (unlock func()) {
	unlock, err := t.root.Lock(lockTimeout)
	if err != nil {
		return func() {}
	}
	return unlock
}

// errChanged says that /dev/log is no longer what the plan was made for.
var errChanged = errors.New("/dev/log changed during the repair")

// Check inspects the target and plans, and changes nothing.
func Check(t *Target, o Options) (r Result, err error) {
	err = rootfs.As(t.uid, t.gid, func() error {
		r, err = check(t, o)
		return err
	})
	if gone := &r.Facts.Receiver; gone.State == Gone && gone.Unit != "" {
		gone.Reason = daemon.SaidLast(gone.Unit)
	}
	return r, err
}

func check(t *Target, o Options) (Result, error) {
	facts, err := Inspect(t, o.Socket, o.Known...)
	if err != nil {
		return Result{}, refused(err)
	}
	o.NoHeal = o.NoHeal || !t.lives()
	plan := NewPlan
	if t.host {
		plan = NewHostPlan
	}
	r := Result{Facts: facts, Plan: plan(facts, o.Choice)}
	if o.Typed && facts.NotRoot {
		r.Plan = advised(r.Plan, plan(facts.toRoot(), o.Choice))
	}
	return r, nil
}

// Repair makes /dev/log of the target lead to a private socket with a receiver
// behind it. Where that is so already it does nothing. The error is a *Refusal
// where a repair would not be safe; after any error the target is as it was.
func Repair(t *Target, o Options) (r Result, err error) {
	err = rootfs.As(t.uid, t.gid, func() error {
		r, err = repair(t, o)
		return err
	})
	return r, err
}

func repair(t *Target, o Options) (Result, error) {
	defer lock(t)()
	o.NoHeal = o.NoHeal || !t.lives()
	if err := clearDev(t); err != nil {
		return Result{}, err
	}
	for range maxTries {
		r, err := check(t, o)
		if errors.Is(err, errChanged) {
			continue
		}
		if err != nil {
			return r, err
		}
		switch r.Plan.Verdict {
		case Healthy:
			return r, nil
		case Refused:
			if t.denied != nil {
				r.Plan.Reason += ": " + t.denied.Error()
			}
			return r, &Refusal{Reason: r.Plan.Reason, Advice: r.Plan.Advice}
		}
		err = apply(t, r.Facts, r.Plan, o)
		if errors.Is(err, errChanged) {
			continue
		}
		var denied *deniedError
		if errors.As(err, &denied) && t.denied == nil { // there may be a way without
			t.denied = denied
			continue
		}
		r.Changed = err == nil
		return r, refused(err)
	}
	return Result{}, fmt.Errorf("repair /dev/log: %w %d times in a row; find out who replaces it", errChanged, maxTries)
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
	var refusal *Refusal
	if err == nil || errors.As(err, &refusal) || !errors.Is(err, os.ErrPermission) {
		return err
	}
	if os.Geteuid() != 0 {
		return &Refusal{Reason: err.Error(), Advice: RunAsRoot}
	}
	return &Refusal{Reason: err.Error(), Advice: repairHost}
}

// work is a plan being carried out.
type work struct {
	target  *Target
	facts   Facts
	plan    Plan
	options Options
	dev     *rootfs.Dir
	// at is the private socket's directory, noted what is noted there.
	at    *rootfs.Dir
	noted record
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
func apply(t *Target, f Facts, p Plan, o Options) (err error) {
	if p.has(OpStart) || p.has(OpKeep) {
		if p.Advice != "" { // a hook's user sees the container's messages alone
			o.Receiver.Notices = append(slices.Clone(o.Receiver.Notices), syslog.Escape(p.Advice))
		}
		if p.has(OpMoveAside) {
			o.Receiver.Notices = append(slices.Clone(o.Receiver.Notices),
				fmt.Sprintf("/dev/log was a %s, and is %s now: look at it, then remove it", f.Log.Kind, asidePath))
		}
		// The rules are the host's, not for a container's root to be readable.
		if err := rootfs.AsSelf(func() error { return o.Receiver.prepare(t) }); err != nil {
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
	if w.dev, err = t.root.Dir(devDir); err != nil {
		return err
	}
	for _, s := range p.Steps {
		if err := w.do(s); err != nil {
			return err
		}
		checkpoint()
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

func (w *work) do(s Step) error {
	switch s.Op {
	case OpTmpfs:
		return denied(w.mountTmpfs(s.Path))
	case OpPrepare:
		return w.prepare(s.Path)
	case OpListen:
		return w.listen(s.Path)
	case OpPoint:
		return w.point(s.Path, s.Text)
	case OpStart, OpKeep:
		return w.start()
	case OpMoveAside:
		return w.moveAside()
	case OpHostLink:
		return w.hostLink(s.Path, s.Text)
	case OpLink:
		return w.link(s.Text)
	case OpPreserve:
		return w.preserve(s.Text)
	case OpTakeOff:
		return denied(w.takeOff())
	case OpSpot:
		return w.spot()
	case OpMount:
		return denied(w.mount(s.Text))
	}
	return fmt.Errorf("carry out the step %q: %w", s.Op, errors.ErrUnsupported)
}

// changed is errChanged where the system call's error means that.
func changed(err error, codes ...error) error {
	if slices.ContainsFunc(codes, func(c error) bool { return errors.Is(err, c) }) {
		return errChanged
	}
	return err
}
