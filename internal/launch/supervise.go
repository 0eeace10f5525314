package launch

import (
	"fmt"

	"devlog/internal/daemon"
	"devlog/internal/plan"
	"devlog/internal/target"
)

// Supervisor says who restarts a receiver that was killed.
type Supervisor string

// Systemd runs the receiver as a transient service and keeps its sockets open while it
// restarts it. AutoSupervised is Systemd where possible: the receiver then does not end with
// the process that started it.
const (
	Unsupervised   Supervisor = "none"
	Systemd        Supervisor = "systemd"
	AutoSupervised Supervisor = "auto"
)

// ParseSupervisor reads the name of a supervisor; an empty name is Unsupervised.
func ParseSupervisor(text string) (Supervisor, error) {
	switch s := Supervisor(text); s {
	case "":
		return Unsupervised, nil
	case Unsupervised, Systemd, AutoSupervised:
		return s, nil
	}
	return "", fmt.Errorf("supervisor %q does not exist: use auto, none or systemd", text)
}

// may returns a *plan.Refusal if the target's receiver cannot be supervised like that.
func (s Supervisor) may(t *target.Target) error {
	if s != Systemd {
		return nil
	}
	if t.ReceiverInside() && !t.Host {
		return &plan.Refusal{Reason: "a receiver inside the container ends with it, and the host's systemd cannot restart it",
			Advice: "leave out --supervise, or run the receiver on the host: with an OCI hook at createRuntime, or with repair --pid"}
	}
	if err := daemon.CanSupervise(); err != nil {
		return &plan.Refusal{Reason: fmt.Sprintf("systemd cannot supervise the receiver here (%v)", err),
			Advice: "leave out --supervise; devlog-hook config s6 and config runit print what other supervisors need"}
	}
	return nil
}

// start starts a receiver for the container of that name. end ends it for good.
func (s Supervisor) start(spec daemon.Spec, name string) (pid int, end func(), err error) {
	if s == Systemd {
		pid, unit, err := daemon.StartUnit(spec, name)
		return pid, func() { daemon.StopUnit(unit) }, err
	}
	pid, err = daemon.Start(spec)
	return pid, func() {
		_, _ = daemon.End(pid) // the caller reports another error
	}, err
}
