package launch

import (
	"fmt"

	"devlog/internal/daemon"
	"devlog/internal/plan"
	"devlog/internal/target"
)

// Supervisor is who starts a receiver anew when it was killed.
type Supervisor string

// Supervised by nobody, or as a transient service of systemd's, which keeps the
// receiver's sockets open meanwhile. AutoSupervised is Systemd where that can be,
// so that the receiver does not end with whoever has it started.
const (
	Unsupervised   Supervisor = "none"
	Systemd        Supervisor = "systemd"
	AutoSupervised Supervisor = "auto"
)

// ParseSupervisor reads the name of a supervisor; an empty one is nobody's.
func ParseSupervisor(text string) (Supervisor, error) {
	switch s := Supervisor(text); s {
	case "":
		return Unsupervised, nil
	case Unsupervised, Systemd, AutoSupervised:
		return s, nil
	}
	return "", fmt.Errorf("supervisor %q does not exist: use auto, none or systemd", text)
}

// may says why the target's receiver cannot be supervised so.
func (s Supervisor) may(t *target.Target) error {
	if s != Systemd {
		return nil
	}
	if t.ReceiverInside() && !t.Host {
		return &plan.Refusal{Reason: "a receiver inside the container ends with it, and no systemd of the host's can start it anew",
			Advice: "leave out --supervise, or have the receiver on the host: an OCI hook at createRuntime, or repair --pid there"}
	}
	if err := daemon.CanSupervise(); err != nil {
		return &plan.Refusal{Reason: fmt.Sprintf("systemd cannot supervise the receiver here (%v)", err),
			Advice: "leave out --supervise; devlog-hook config s6 and config runit print what other supervisors need"}
	}
	return nil
}

// start starts a receiver for the container of that name, and returns what ends
// it for good.
func (s Supervisor) start(spec daemon.Spec, name string) (pid int, end func(), err error) {
	if s == Systemd {
		pid, unit, err := daemon.StartUnit(spec, name)
		return pid, func() { daemon.StopUnit(unit) }, err
	}
	pid, err = daemon.Start(spec)
	return pid, func() {
		_, _ = daemon.End(pid) // the error to be told is another one's
	}, err
}
