package launch

import (
	"fmt"
	"os"
	"path"
	"strings"

	"devlog/internal/daemon"
	"devlog/internal/hook"
	"devlog/internal/names"
	"devlog/internal/target"
)

// A receiver runs in the cgroup of the process that starts it, and is killed with it: when a
// oneshot service has run, for example.

// hostService is the service that prepares the host. Its main process is the watcher.
const hostService = names.HostUnit

// warn tells the user what else ends the receiver, besides its container.
func (r *Receiver) warn(t *target.Target) {
	if r.Warn == nil {
		return
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
		what += fmt.Sprintf(" ends with %s, in which this program runs; hint: repair on the host itself", container)
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
