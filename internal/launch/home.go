package launch

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"devlog/internal/daemon"
	"devlog/internal/hook"
	"devlog/internal/target"
)

// A receiver lives in the cgroup of whoever starts it, and is killed with that: as
// soon as a oneshot service has run, say. systemd can give it one of its own.

// startAs starts the receiver in the best home that there is, and warns if that is
// somebody else's.
func (r *Receiver) startAs(t *target.Target, spec daemon.Spec) (pid int, end func(), err error) {
	if r.Supervise != AutoSupervised {
		pid, end, err = r.Supervise.start(spec, r.Name)
		if err == nil && r.Supervise != Systemd {
			r.warn(t, nil)
		}
		return pid, end, err
	}
	var why error
	if mayBeService(t, r.Path) {
		pid, end, why = Systemd.start(spec, r.Name)
		var said *daemon.StartError
		if why == nil {
			r.Supervise = Systemd
		}
		if why == nil || errors.As(why, &said) { // another one would say the same
			return pid, end, why
		}
	}
	if pid, end, err = Unsupervised.start(spec, r.Name); err == nil {
		r.warn(t, why)
	}
	return pid, end, err
}

// mayBeService says that systemd could start the target's receiver, the program at
// that path: it does so in its own mount namespace, where it has to find the same
// files.
func mayBeService(t *target.Target, program string) bool {
	if t.ReceiverInside() || os.Geteuid() != 0 || daemon.CanSupervise() != nil {
		return false
	}
	self, err := os.Executable()
	if err != nil {
		return false
	}
	for _, name := range []string{"/run", program, self} {
		here, err := os.Stat(name)
		there, terr := os.Stat("/proc/1/root" + name)
		if err != nil || terr != nil || !os.SameFile(here, there) {
			return false
		}
	}
	return true
}

// hostService is the service that prepares the host, whose main process is the keeper.
const hostService = "devlog-host.service"

// warn says with what the receiver ends, if not with its container alone. why is
// why it is no service of systemd's, where it was to be one.
func (r *Receiver) warn(t *target.Target, why error) {
	if r.Warn == nil {
		return
	}
	if why != nil {
		r.Warn(fmt.Sprintf("systemd does not supervise the receiver: %v", why))
	}
	what := "the receiver"
	if t.Host {
		what = "the keeper"
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		text = nil // nothing is known of it
	}
	service, container := serviceOf(string(text)), ""
	switch {
	case !t.ReceiverInside() || t.Host:
		container = callersContainer(string(text))
	case !daemon.Booted(): // the container may be a service of the host's itself
		service = ""
	}
	switch {
	case container != "":
		what += fmt.Sprintf(" ends with %s, in which this program runs: for one that stays, repair on the host itself", container)
	case service != "" && (!t.Host || service != hostService):
		what += fmt.Sprintf(" ends with %s, which has started it, unless that has KillMode=process", service)
	default:
		return
	}
	r.Warn(what)
}

// callersContainer is the container that this process runs in, in words, while the
// target is another or the host; empty if it runs in none. The text is that of its
// /proc/self/cgroup.
func callersContainer(text string) string {
	if name := hook.RawNameFromCgroup(text); name != "" {
		return "the container " + name
	}
	// A service may have a mount namespace of its own too.
	own, err := target.Namespace("self", "mnt")
	first, ferr := target.Namespace("1", "mnt")
	if err == nil && ferr == nil && own != first && serviceOf(text) == "" {
		return "this container"
	}
	return ""
}

// serviceOf is the service of systemd's in whose cgroup a process is that has this
// text of /proc/PID/cgroup (cgroups(7)); empty if it is in none, or in a scope,
// which ends when all its processes have.
func serviceOf(text string) string {
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, at, ok := strings.Cut(rest, ":")
		if !ok || controllers != "" && controllers != "name=systemd" {
			continue
		}
		for ; at != "/" && at != "." && at != ""; at = path.Dir(at) {
			switch name := path.Base(at); path.Ext(name) {
			case ".service":
				return name
			case ".scope":
				return ""
			}
		}
	}
	return ""
}
