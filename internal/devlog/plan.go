package devlog

import (
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// Choice is what whoever asks for a repair can choose about the plan.
type Choice struct {
	Strategy Strategy
	// NoReceiver leaves the private socket to a syslog daemon of the
	// container's own.
	NoReceiver bool
	// NoHeal starts nobody who would see to it that the repair stays.
	NoHeal bool
	// Keep leaves a keeper on a host, where otherwise nobody stays.
	Keep bool
	// Force moves a file that is no socket out of the way.
	Force bool
}

// NewPlan decides what to do. It looks at nothing but its arguments.
func NewPlan(f Facts, c Choice) Plan {
	switch {
	case f.Dev.Kind != rootfs.Directory:
		return refuse("there is no directory /dev", "mount one into the container")
	case healthy(f):
		return planKeep(f, c)
	case f.Host && awaitsDaemon(f):
		return Plan{Verdict: Healthy, Advice: startDaemon}
	case !nameOfSocket(f.Log.Kind):
		return planAside(f, c, NewPlan)
	case !f.Log.Leads.socketOrNothing():
		return refuse(fmt.Sprintf("/dev/log leads to %s, a %s", f.Log.Leads.Path, f.Log.Leads.Kind),
			"remove it, or point /dev/log elsewhere")
	}
	switch c.Strategy {
	case Adopt:
		if !adoptable(f) {
			return refuse("/dev/log is no link to a place of this container's own, so it cannot be adopted",
				"leave out --strategy adopt")
		}
		return planAdopt(f, c)
	case Symlink:
		return planSymlink(f, c)
	case Bind:
		return planBind(f, c)
	}
	switch {
	case adoptable(f) && !strays(f) && (f.Dev.Sharing != Private || f.Dev.Unwritable != "" || f.Log.Leads.Path == f.Socket.Path):
		return planAdopt(f, c)
	case f.Dev.Unwritable != "":
		if !f.MayMount {
			return refuse("/dev cannot be written ("+f.Dev.Unwritable+") and nothing may be mounted here",
				"run devlog-hook on the host, with --pid")
		}
		return planBind(f, c)
	case elsewhere(f) && f.MayMount && f.Log.Kind != rootfs.Absent:
		return planBind(f, c)
	case elsewhereLive(f) && f.MayMount:
		return planBind(f, c)
	case !f.Log.Leads.Live || rebound(f):
		return planSymlink(f, c)
	case f.MayMount:
		return planBind(f, c)
	}
	whose := "/dev is the host's too"
	if f.Dev.Sharing == Unknown {
		whose = "/dev may be the host's too"
	}
	return refuse(whose+", and somebody else listens on /dev/log",
		"run devlog-hook repair --host on the host once")
}

// healthy says that a message sent to /dev/log arrives with this container's
// own listener.
func healthy(f Facts) bool {
	l := f.Log.Leads
	return l.Live && !l.Foreign && (l.Sharing == Private || f.Dev.Sharing == Private)
}

// adoptable says that /dev/log is a link to a place of this container alone
// where nobody listens for it.
func adoptable(f Facts) bool {
	l := f.Log.Leads
	return f.Log.Kind == rootfs.Link && l.Sharing == Private && (l.free() || l.Foreign) && (notPrivate(l) == "" || l.MountAt != "")
}

// elsewhereLive says that /dev/log is a link that is of no use in this
// container but may be in others that share /dev, where it can lead to another
// place.
func elsewhereLive(f Facts) bool {
	l := f.Log.Leads
	return f.Log.Kind == rootfs.Link && !l.Live && f.Dev.Sharing != Private && !strays(f) && path.Dir(l.Path) != devDir
}

// rebound says that the socket at /dev/log is the one of the host's daemon,
// which has been started anew on a prepared host. Where the host's known
// socket is live too, that daemon never ended, and this is somebody else's.
func rebound(f Facts) bool {
	if !f.hostPrepared() || f.Log.Kind != rootfs.Socket || !f.Inside && !f.Log.Leads.Here {
		return false // from the host it is seen whose it is
	}
	return !f.HostSocket.Live || f.HostSocket.ID == f.Log.ID
}

// strays says that somebody has pointed /dev/log of a prepared host elsewhere.
// The containers could listen there, but the host's daemon, which lives, does
// not: its messages would be lost.
func strays(f Facts) bool {
	l := f.Log.Leads
	return f.HostSocket.Live && f.Log.Kind == rootfs.Link && !l.Live && l.Path != DefaultSocket &&
		f.Socket.Path == DefaultSocket && f.Dev.Unwritable == ""
}

// elsewhere says that the private socket is not to be where the shared name
// /dev/log of a prepared host leads: as a link to that place it would cut off
// the host and every other container.
func elsewhere(f Facts) bool {
	return f.hostPrepared() && !f.Host && f.Dev.Sharing != Private && f.Socket.Path != DefaultSocket
}

// startDaemon is all that is missing on a prepared host where nobody listens.
const startDaemon = "start the host's syslog daemon"

// awaitsDaemon says that the host is prepared, and that its daemon does not run.
func awaitsDaemon(f Facts) bool {
	l := f.Log.Leads
	return f.Log.Kind == rootfs.Link && l.Path == path.Join(devDir, hostName) && !l.Live
}

func nameOfSocket(k rootfs.Kind) bool {
	return k == rootfs.Link || k == rootfs.Absent || k == rootfs.Socket
}

// planKeep is the plan where messages arrive already: at most somebody is
// missing who keeps that so.
func planKeep(f Facts, c Choice) Plan {
	if !c.NoReceiver || c.NoHeal || f.Keeper {
		return Plan{Verdict: Healthy}
	}
	return Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: f.Log.Leads.Path,
		Steps: append(prepare(f.Log.Leads.Path), Step{Op: OpKeep})}
}

func planAdopt(f Facts, c Choice) Plan {
	return planSocket(f, c, Adopt, f.Log.Leads)
}

func planSymlink(f Facts, c Choice) Plan {
	p := planSocket(f, c, Symlink, f.Socket)
	if p.Verdict == Refused {
		return p
	}
	if f.Dev.Unwritable != "" {
		return refuse("/dev cannot be written ("+f.Dev.Unwritable+")", "leave out --strategy symlink")
	}
	if elsewhere(f) {
		return refuse("/dev/log of a prepared host leads to "+DefaultSocket+" for everybody", "leave out --socket")
	}
	link := Step{Op: OpLink, Path: logPath, Text: f.Socket.Path}
	if f.Log.Leads.Live && f.Dev.Sharing != Private {
		link.Op = OpPreserve
		switch {
		case f.Log.Kind != rootfs.Socket:
			return refuse("/dev/log is a link to another's live socket, which cannot be kept", "leave out --strategy symlink")
		case f.hostPrepared() && !rebound(f):
			return refuse("somebody who is not the host's daemon listens on /dev/log", "leave out --strategy symlink")
		case f.Inside && !f.hostPrepared():
			return refuse("the host's socket cannot be kept from inside a container",
				"run devlog-hook repair --host on the host once")
		case !f.Inside && !f.hostPrepared():
			p.Steps = append(p.Steps, hostLink())
		}
	}
	p.Steps = append(p.Steps, link)
	return p
}

func planBind(f Facts, c Choice) Plan {
	p := planSocket(f, c, Bind, f.Socket)
	switch {
	case p.Verdict == Refused:
		return p
	case !f.MayMount:
		return refuse("nothing may be mounted here", "leave out --strategy bind")
	case f.Log.Kind == rootfs.Absent && f.Dev.Unwritable != "":
		return refuse("there is no /dev/log to mount a link over, and /dev cannot be written ("+f.Dev.Unwritable+")",
			"run devlog-hook repair --host on the host once")
	case f.Log.Kind == rootfs.Absent:
		return refuse("there is no /dev/log to mount a link over", "leave out --strategy bind")
	}
	p.Steps = append(p.Steps, Step{Op: OpMount, Path: logPath, Text: f.Socket.Path})
	return p
}

// planSocket is the part of a plan that makes somebody listen at the place. It
// is refused where that cannot be.
func planSocket(f Facts, c Choice, s Strategy, at PlaceFacts) Plan {
	p := Plan{Verdict: NeedsRepair, Strategy: s, Socket: at.Path}
	if why := notPrivate(at); why != "" {
		switch {
		case at.MountAt == "":
			return refuse(why, "mount a tmpfs of the container's own at "+path.Dir(path.Dir(at.Path)))
		case !f.MayMount:
			return refuse(why+", and nothing may be mounted here", "mount a tmpfs of the container's own at "+at.MountAt)
		}
		p.Steps = append(p.Steps, Step{Op: OpTmpfs, Path: at.MountAt})
	} else if !at.socketOrNothing() {
		return refuse(fmt.Sprintf("%s is a %s", at.Path, at.Kind), "remove it, or name another place with --socket")
	}
	listens := at.Live && len(p.Steps) == 0 // a tmpfs hides who listens now
	p.Steps = append(p.Steps, prepare(at.Path)...)
	switch {
	case !listens && !c.NoReceiver:
		p.Steps = append(p.Steps, Step{Op: OpListen, Path: at.Path}, Step{Op: OpStart})
	case !c.NoHeal && !f.Keeper:
		p.Steps = append(p.Steps, Step{Op: OpKeep})
	case s == Adopt:
		p = Plan{Verdict: Healthy, Strategy: Adopt, Socket: at.Path}
		if !listens {
			p.Advice = OwnDaemon + at.Path
		}
	}
	return p
}

// OwnDaemon is the advice, before the socket's path, where a syslog daemon of the
// container's own is all that is missing.
const OwnDaemon = "let the container's own daemon listen on "

// notPrivate says why a socket at that place would not be the container's own,
// or could not be made; empty if it would.
func notPrivate(at PlaceFacts) string {
	switch {
	case at.Sharing != Private:
		return fmt.Sprintf("%s is not the container's own directory", path.Dir(at.Path))
	case at.Foreign:
		return fmt.Sprintf("another container with the same root directory listens on %s", at.Path)
	case at.Unwritable != "":
		return fmt.Sprintf("%s cannot be made (%s)", at.Path, at.Unwritable)
	}
	return ""
}

// planAside moves a file that is no socket out of the way, where that is
// wanted, and goes on as if there had been none.
func planAside(f Facts, c Choice, rest func(Facts, Choice) Plan) Plan {
	if !c.Force {
		return refuse(fmt.Sprintf("/dev/log is a %s, which no syslog daemon leaves there", f.Log.Kind),
			"look at it, then remove it or have it renamed with --force")
	}
	if f.Dev.Unwritable != "" {
		return refuse(fmt.Sprintf("/dev/log is a %s, and /dev cannot be written (%s)", f.Log.Kind, f.Dev.Unwritable),
			"remove it on the host")
	}
	f.Log = LogFacts{Kind: rootfs.Absent, Leads: PlaceFacts{Path: logPath, Kind: rootfs.Absent, Sharing: f.Dev.Sharing}}
	p := rest(f, c)
	if p.Verdict == NeedsRepair {
		aside := Step{Op: OpMoveAside, Path: logPath, Text: logPath + ".devlog-old"}
		at := len(p.Steps) - 1 // right before the step that makes /dev/log
		p.Steps = append(p.Steps[:at:at], aside, p.Steps[at])
	}
	return p
}

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
	case f.Log.Kind == rootfs.Link && leads.Path == DefaultSocket && leads.Kind == rootfs.Absent:
		return prepared // the link on the host's side is missing
	case f.Log.Kind == rootfs.Link && (leads.Path == path.Join(devDir, hostName) || path.Dir(leads.Path) != devDir) && !strays(f) &&
		(leads.Live || !leads.blocked()):
		if !leads.Live { // containers have all they need, the host itself does not
			return Plan{Verdict: Healthy, Advice: startDaemon}
		}
		return Plan{Verdict: Healthy}
	case f.Dev.Unwritable != "":
		return refuse("/dev cannot be written ("+f.Dev.Unwritable+")", RunAsRoot+" on the host")
	case !nameOfSocket(f.Log.Kind):
		return planAside(f, c, planHost)
	case f.Log.Kind == rootfs.Link && leads.Live:
		return refuse("/dev/log leads to "+leads.Path+", which containers share", "let the host's daemon listen on /dev/log itself")
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

func hostLink() Step {
	return Step{Op: OpHostLink, Path: DefaultSocket, Text: path.Join(devDir, hostName)}
}

func prepare(socket string) []Step {
	return []Step{{Op: OpPrepare, Path: path.Dir(socket)}}
}

func refuse(reason, advice string) Plan {
	return Plan{Verdict: Refused, Reason: reason, Advice: advice}
}
