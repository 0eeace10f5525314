package devlog

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// NewHostPlan decides what to do with the host itself, so that every container
// that shares its /dev can have its own log.
func NewHostPlan(f Facts, c Choice) Plan {
	p := planHost(f, c)
	if !c.Keep || f.Keeper {
		return p
	}
	switch p.Verdict {
	case Healthy:
		p = Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: DefaultSocket, Advice: p.Advice,
			Steps: append(prepare(DefaultSocket), Step{Op: OpKeep})}
	case NeedsRepair: // right after the record, which names the keeper
		p.Steps = slices.Insert(p.Steps, 1, Step{Op: OpKeep})
	}
	return p
}

func planHost(f Facts, c Choice) Plan {
	leads := f.Log.Leads
	prepared := Plan{Verdict: NeedsRepair, Strategy: Symlink, Socket: DefaultSocket, Steps: append(prepare(DefaultSocket), hostLink())}
	switch {
	case f.Dev.Kind != rootfs.Directory:
		return refuse("there is no directory /dev", "run this on the host")
	case f.NotHost != "" && !c.Force:
		return refuse(f.NotHost, "run this on the host, or with --force if this is it")
	case f.hostTaken():
		return refuse(hostTaken, restartDaemon)
	case f.Log.Kind == rootfs.Link && leads.Path == DefaultSocket && leads.Kind == rootfs.Absent:
		return prepared // the link on the host's side is missing
	case f.Log.Kind == rootfs.Link && (leads.Path == path.Join(devDir, hostName) || path.Dir(leads.Path) != devDir) && !strays(f) &&
		(leads.Live || f.Log.Known && !leads.blocked()):
		switch {
		case !leads.Live: // containers have all they need, the host itself does not
			return Plan{Verdict: Healthy, Advice: f.awaits()}
		case !f.Log.Known:
			return Plan{Verdict: Healthy, Advice: "have the hooks say --adopt " + f.Log.Link + ", for containers do not adopt a place that they do not know"}
		}
		return Plan{Verdict: Healthy}
	case f.Dev.Unwritable != "":
		return refuse("/dev cannot be written ("+f.Dev.Unwritable+")", RunAsRoot+" on the host")
	case !nameOfSocket(f.Log.Kind):
		return planAside(f, c, true, planHost)
	case f.Log.Kind == rootfs.Link && leads.Live:
		return refuse("/dev/log leads to "+leads.Path+", which containers share", "let the host's daemon listen on /dev/log itself")
	case f.intruded():
		prepared.Steps = append(prepared.Steps, Step{Op: OpLink, Path: logPath, Text: DefaultSocket})
		prepared.Advice = "let the daemon that took /dev/log listen on " + DefaultSocket + " in its container"
	case leads.Live && !leads.Here && f.HostSocket.Live && f.HostSocket.ID != f.Log.ID:
		return refuse("the host's daemon listens on /dev/"+hostName+" still, and somebody else on /dev/log",
			"let that daemon listen on /run/devlog/log in its container")
	case leads.Live:
		prepared.Steps = append(prepared.Steps, Step{Op: OpPreserve, Path: logPath, Text: DefaultSocket})
	default:
		prepared.Steps = append(prepared.Steps, Step{Op: OpLink, Path: logPath, Text: DefaultSocket})
		prepared.Advice = startDaemon
	}
	return prepared
}

// RunAsRoot is the advice where nothing is missing but rights.
const RunAsRoot = "run this as root"

// advised is the plan of somebody who is not root, with that advice where root,
// whose plan is the other one, is not refused.
func advised(p, ofRoot Plan) Plan {
	if p.Verdict == Refused && ofRoot.Verdict != Refused {
		p.Advice = RunAsRoot
	}
	return p
}

// toRoot are the facts as root is likely to find them.
func (f Facts) toRoot() Facts {
	f.MayMount = !f.Host
	if f.NotHost == notSeen {
		f.NotHost = ""
	}
	for _, why := range []*string{&f.Dev.Unwritable, &f.Log.Leads.Unwritable, &f.Socket.Unwritable} {
		if *why == unix.EACCES.Error() || *why == unix.EPERM.Error() {
			*why = ""
		}
	}
	return f
}
