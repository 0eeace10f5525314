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

// A receiver runs in the cgroup of the process that starts it, and is killed with it: when a
// oneshot service has run, for example. As a systemd service it has its own cgroup.

// startAs starts the receiver in its own cgroup if it can, and otherwise warns the user.
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
		if why == nil || errors.As(why, &said) { // it would fail without systemd too
			return pid, end, why
		}
	}
	if pid, end, err = Unsupervised.start(spec, r.Name); err == nil {
		r.warn(t, why)
	}
	return pid, end, err
}

// mayBeService returns whether systemd could start the target's receiver, the program at that
// path. systemd starts it in its own mount namespace and must find the same files there.
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

// hostService is the service that prepares the host. Its main process is the watcher.
const hostService = "devlog-host.service"

// warn tells the user what else ends the receiver, besides its container. why is why it is
// not a systemd service although it should be; nil otherwise.
func (r *Receiver) warn(t *target.Target, why error) {
	if r.Warn == nil {
		return
	}
	if why != nil {
		r.Warn(fmt.Sprintf("systemd does not supervise the receiver: %v", why))
	}
	what := "the receiver"
	if t.Host {
		what = "the watcher"
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		text = nil // unknown
	}
	service, container := serviceOf(string(text)), ""
	switch {
	case !t.ReceiverInside() || t.Host:
		container = callersContainer(string(text))
	case !daemon.Booted(): // the container itself may be a service of the host
		service = ""
	}
	switch {
	case container != "":
		what += fmt.Sprintf(" ends with %s, in which this program runs; to avoid that, repair on the host itself", container)
	case service != "" && (!t.Host || service != hostService):
		what += fmt.Sprintf(" ends with %s, which started it, unless that service has KillMode=process", service)
	default:
		return
	}
	r.Warn(what)
}

// callersContainer describes the container in which this process runs while its target is
// another container or the host; empty if it runs in none. text is its /proc/self/cgroup.
func callersContainer(text string) string {
	if name := hook.RawNameFromCgroup(text); name != "" {
		return "the container " + name
	}
	// A service can have its own mount namespace too.
	own, err := target.Namespace("self", "mnt")
	first, ferr := target.Namespace("1", "mnt")
	if err == nil && ferr == nil && own != first && serviceOf(text) == "" {
		return "this container"
	}
	return ""
}

// serviceOf returns the systemd service of a process from the text of its /proc/PID/cgroup
// (cgroups(7)). It is empty without a service, and in a scope, which does not end before
// its last process.
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
