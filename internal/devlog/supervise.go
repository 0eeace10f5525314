package devlog

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"devlog/internal/daemon"
	"devlog/internal/rootfs"
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
func (s Supervisor) may(t *Target) error {
	if s != Systemd {
		return nil
	}
	if t.receiverInside() && !t.host {
		return &Refusal{Reason: "a receiver inside the container ends with it, and no systemd of the host's can start it anew",
			Advice: "leave out --supervise, or have the receiver on the host: an OCI hook at createRuntime, or repair --pid there"}
	}
	if err := daemon.CanSupervise(); err != nil {
		return &Refusal{Reason: fmt.Sprintf("systemd cannot supervise the receiver here (%v)", err),
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

// restartTime is how long it may take until systemd has started a receiver anew:
// it waits for a tenth of a second first.
const restartTime = 3 * time.Second

// unitOf is the service of systemd's that the process, a receiver, is or was
// started in, if that may be one of receivers'; else empty.
func unitOf(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	return parseUnit(string(text))
}

// parseUnit is unitOf for the text of a /proc/PID/cgroup (cgroups(7)).
func parseUnit(text string) string {
	for line := range strings.Lines(text) {
		dir, unit := path.Split(strings.TrimSpace(line))
		if strings.HasSuffix(path.Base(dir), ".slice") && strings.HasPrefix(unit, daemon.UnitPrefix) && strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}

// waitRestarted waits until systemd has started the receiver of the record in
// the directory at anew, if it is a service, and returns its process ID; 0 if
// that does not happen. The record may be forged: it is only waited for.
func (r *record) waitRestarted(at *rootfs.Dir) int {
	if r == nil || r.Unit == "" || daemon.CanSupervise() != nil {
		return 0
	}
	for deadline := time.Now().Add(restartTime); ; time.Sleep(20 * time.Millisecond) {
		for _, pid := range receiversAt(at) {
			if unitOf(pid) != "" {
				return pid
			}
		}
		if time.Now().After(deadline) {
			return 0
		}
	}
}
