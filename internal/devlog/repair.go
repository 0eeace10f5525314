package devlog

import (
	"errors"
	"fmt"
	"time"

	"devlog/internal/rootfs"
)

// Options say how a repair is to be made.
type Options struct {
	Choice
	// Socket is the private socket's path in the container.
	Socket string
	// Receiver says which receiver to start, and with what.
	Receiver Receiver
}

// Result is what a repair has come to.
type Result struct {
	Facts Facts
	Plan  Plan
	// Changed says that the plan was carried out.
	Changed bool
}

const (
	// lockTimeout is how long a repair waits for another one of the same
	// container, which takes milliseconds.
	lockTimeout = 10 * time.Second
	// maxTries is how often a repair begins anew because somebody else
	// changed /dev/log meanwhile.
	maxTries = 5
)

// errChanged says that /dev/log is no longer what the plan was made for.
var errChanged = errors.New("/dev/log changed during the repair")

// Check inspects the target and plans, and changes nothing.
func Check(t *Target, o Options) (Result, error) {
	facts, err := Inspect(t, o.Socket)
	if err != nil {
		return Result{}, err
	}
	return Result{Facts: facts, Plan: NewPlan(facts, o.Choice)}, nil
}

// Repair makes /dev/log of the target lead to a private socket with a receiver
// behind it. Where that is so already it does nothing. The error is a *Refusal
// where a repair would not be safe; after any error the target is as it was.
func Repair(t *Target, o Options) (Result, error) {
	unlock, err := t.root.Lock(lockTimeout)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	for range maxTries {
		r, err := Check(t, o)
		if err != nil {
			return r, err
		}
		switch r.Plan.Verdict {
		case Healthy:
			return r, nil
		case Refused:
			return r, &Refusal{Reason: r.Plan.Reason, Advice: r.Plan.Advice}
		}
		err = apply(t, r.Facts, r.Plan, o.Receiver)
		if errors.Is(err, errChanged) {
			continue
		}
		r.Changed = err == nil
		return r, err
	}
	return Result{}, fmt.Errorf("repair /dev/log: %w %d times in a row; find out who replaces it", errChanged, maxTries)
}

// work is a plan being carried out.
type work struct {
	target   *Target
	facts    Facts
	receiver Receiver
	dev      *rootfs.Dir
	// listening is what OpListen has made.
	listening *listening
	// undo takes the steps back, last first.
	undo []func()
}

// apply carries the plan's steps out. Where one fails it takes those before it
// back.
func apply(t *Target, f Facts, p Plan, r Receiver) (err error) {
	if err := r.prepare(t, p); err != nil {
		return err
	}
	w := &work{target: t, facts: f, receiver: r}
	defer func() {
		if err != nil {
			for i := len(w.undo) - 1; i >= 0; i-- {
				w.undo[i]()
			}
		}
		w.close()
	}()
	if w.dev, err = t.root.Dir(devDir); err != nil {
		return err
	}
	for _, s := range p.Steps {
		if !s.Op.available() {
			return &Refusal{Reason: fmt.Sprintf("the way to repair this would be to %s, which this version cannot do", s),
				Advice: "let whoever listens on /dev/log listen elsewhere, and run this again"}
		}
	}
	for _, s := range p.Steps {
		if err := w.do(s); err != nil {
			return err
		}
	}
	return nil
}

// available says whether a step can be carried out.
func (o Op) available() bool { return o != OpPreserve && o != OpMount }

func (w *work) close() {
	if w.dev != nil {
		w.dev.Close()
	}
	if w.listening != nil {
		w.listening.close()
	}
}

func (w *work) do(s Step) error {
	switch s.Op {
	case OpMoveAside:
		return w.moveAside(s)
	case OpListen:
		return w.listen(s)
	case OpStart:
		return w.start()
	case OpLink:
		return w.link(s)
	}
	return fmt.Errorf("unknown step %q", s.Op)
}
