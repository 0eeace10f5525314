package plan

import (
	"fmt"
	"path"
	"slices"

	"devlog/internal/names"
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
	// Watch leaves a keeper on a host, where otherwise nobody stays.
	Watch bool
	// Force moves a file that is no socket out of the way.
	Force bool
}

// New decides what to do. It looks at nothing but its arguments.
func New(f Facts, c Choice) Plan {
	switch {
	case f.Dev.Kind != rootfs.Directory:
		return refuse("there is no directory /dev", "mount one into the container")
	case healthy(f):
		return planHealthy(f, c)
	case f.hostReplaced():
		return refuse(hostSocketReplaced, restartDaemon)
	case f.Host && awaitsDaemon(f):
		return Plan{Verdict: Healthy, Advice: f.awaits()}
	case f.Host && f.intruded():
		return refuse("a daemon of a container listens on /dev/log", RepairHost)
	case f.Log.Mounted:
		return planMounted(f, c)
	case !nameOfSocket(f.Log.Kind):
		return planRename(f, c, c.Force || f.Dev.Sharing != Private, New)
	case !f.Log.Leads.socketOrNothing() && !f.Log.ofAnybody(f.Dev):
		return refuse(fmt.Sprintf("/dev/log leads to %s, a %s", f.Log.Leads.Path, f.Log.Leads.Kind),
			"remove it, or point /dev/log elsewhere")
	}
	switch c.Strategy {
	case Adopt:
		if f.Log.ofAnybody(f.Dev) && !f.Log.Known {
			return refuse(unknownPlace(f), listPlace(f))
		}
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
	case f.Log.ofAnybody(f.Dev):
		return planLink(f, c)
	case !f.Log.Leads.Live && !mayLink(f) && f.MayMount:
		return planBind(f, c)
	case !f.Log.Leads.Live || rebound(f) || f.intruded() && !f.Inside:
		return planSymlink(f, c)
	case f.MayMount:
		return planBind(f, c)
	}
	whose := "/dev is the host's too"
	if f.Dev.Sharing == Unknown {
		whose = "/dev may be the host's too"
	}
	return refuse(whose+", and somebody else listens on /dev/log", RepairHost)
}

// planLink replaces or covers a link in a shared /dev that cannot be adopted. Any
// container's root can have made it, and where it leads nowhere in this container
// it may lead somewhere on the host, or in others.
func planLink(f Facts, c Choice) Plan {
	l := f.Log.Leads
	harmless := !l.Live && !f.Log.OnHost && (f.HostPrepared() || f.mayPrepare())
	switch {
	case strays(f), harmless:
		return planSymlink(f, c)
	case f.MayMount:
		return planBind(f, c)
	case !l.Live && path.Dir(l.Path) == names.Dev: // nobody can listen there anywhere
		return planSymlink(f, c)
	case f.Log.Known && l.Live:
		return refuse("/dev/log leads to "+l.Path+", where another container or the host listens", RepairHost)
	case f.Log.Known:
		return refuse("nobody can listen on "+l.Path+", to which /dev/log leads", RepairHost)
	}
	return refuse(unknownPlace(f), listPlace(f))
}

// unknownPlace is why a link in a shared /dev is not adopted.
func unknownPlace(f Facts) string {
	return "/dev/log leads to " + f.Log.Link + ", and any container that shares /dev can have made that link"
}

// listPlace is the advice for a link that may be the administrator's own.
func listPlace(f Facts) string {
	if !path.IsAbs(f.Log.Link) {
		return RepairHost
	}
	return "say --adopt " + path.Clean(f.Log.Link) + " if a daemon of the host's or the container's is to listen there, else " + RepairHost
}

// ofAnybody says that the name is a link that any container's root can have made.
func (l LogFacts) ofAnybody(dev DevFacts) bool {
	return l.Kind == rootfs.Link && dev.Sharing != Private
}

// trusted says that messages may go where the link leads, if somebody listens
// there: others have not chosen that place, or a process of this container listens.
func (f Facts) trusted() bool {
	if f.hostReplaced() {
		return false
	}
	return !f.Log.ofAnybody(f.Dev) || f.Log.Known || f.Log.Leads.Here || f.Inside && f.NotRoot
}

// RepairHost is the advice where only a prepared host helps.
const RepairHost = "run devlog-hook repair --host on the host once"

// mayLink says that a link at /dev/log harms nobody: syslog-ng and busybox
// syslogd on the host do not start over a link that leads nowhere there.
func mayLink(f Facts) bool {
	return f.Dev.Sharing == Private || f.Host || f.HostPrepared() || f.mayPrepare()
}

// mayPrepare says that the host can be prepared for a link to the private socket,
// which then leads somewhere on the host, too.
func (f Facts) mayPrepare() bool { return f.MayPrepare && f.Socket.Path == names.DefaultSocket }

// healthy says that a message sent to /dev/log arrives with this container's
// own listener.
func healthy(f Facts) bool {
	l := f.Log.Leads
	return l.Live && !l.Foreign && (l.Sharing == Private || f.Dev.Sharing == Private) && !f.intruded() && f.trusted()
}

// adoptable says that /dev/log is a link to a place of this container alone
// where nobody listens for it: the private socket's, or one where a link to that
// can be made. In a shared /dev it is a known place.
func adoptable(f Facts) bool {
	l := f.Log.Leads
	if f.Log.Kind != rootfs.Link || l.Sharing != Private || f.Dev.Sharing != Private && !f.Log.Known {
		return false
	}
	if l.Path == f.Socket.Path {
		return (l.free() || l.Foreign) && (notPrivate(l) == "" || l.MountAt != "")
	}
	return l.free() && notPrivate(l) == ""
}

// rebound says that the socket at /dev/log is the one of the host's daemon,
// which has been started anew on a prepared host. Where the host's known
// socket is live too, that daemon never ended, and this is somebody else's.
func rebound(f Facts) bool {
	if !f.HostPrepared() || f.Log.Kind != rootfs.Socket || !f.Inside && !f.Log.Leads.Here {
		return false // from the host it is seen whose it is
	}
	return !f.HostSocket.Live || f.HostSocket.ID == f.Log.ID
}

// strays says that somebody has pointed /dev/log of a prepared host elsewhere.
// The containers could listen there, but the host's daemon, which lives, does
// not: its messages would be lost.
func strays(f Facts) bool {
	l := f.Log.Leads
	return f.HostSocket.Live && f.Log.Kind == rootfs.Link && !l.Live && l.Path != names.DefaultSocket &&
		f.Socket.Path == names.DefaultSocket && f.Dev.Unwritable == ""
}

// elsewhere says that the private socket is not to be where the shared name
// /dev/log of a prepared host leads: as a link to that place it would cut off
// the host and every other container.
func elsewhere(f Facts) bool {
	return f.HostPrepared() && !f.Host && f.Dev.Sharing != Private && f.Socket.Path != names.DefaultSocket
}

// startDaemon is all that is missing on a prepared host where nobody listens.
const startDaemon = "start the host's syslog daemon"

// restartDaemon is the advice where the daemon's socket has lost its name.
const restartDaemon = "restart the host's syslog daemon, then run devlog-hook repair --host"

// hostSocketReplaced is why a prepared host does not work whose /dev/.devlog-host has been
// replaced.
const hostSocketReplaced = "a daemon of a container listens on /dev/.devlog-host, in the place of the host's"

// awaits is the advice on a prepared host where nobody listens: without the name
// that daemon may run all the same.
func (f Facts) awaits() string {
	if f.HostPrepared() || f.Log.Leads.Path != path.Join(names.Dev, names.HostSocket) {
		return startDaemon
	}
	return restartDaemon
}

// awaitsDaemon says that the host is prepared, and that its daemon does not run.
func awaitsDaemon(f Facts) bool {
	l := f.Log.Leads
	return f.Log.Kind == rootfs.Link && l.Path == path.Join(names.Dev, names.HostSocket) && !l.Live
}

func nameOfSocket(k rootfs.Kind) bool {
	return k == rootfs.Link || k == rootfs.Absent || k == rootfs.Socket
}

// planHealthy is the plan where messages arrive already: at most somebody is
// missing who keeps that so.
func planHealthy(f Facts, c Choice) Plan {
	if !c.NoReceiver || c.NoHeal || f.Watcher {
		return Plan{Verdict: Healthy, Advice: openUp(f.Log.Leads)}
	}
	return Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: f.Log.Leads.Path, Advice: openUp(f.Log.Leads),
		Steps: append(prepare(f.Log.Leads.Path), Step{Op: OpWatch})}
}

// planAdopt changes nothing in /dev. Where /dev/log leads to another place than
// the private socket's, that place becomes a link to it.
func planAdopt(f Facts, c Choice) Plan {
	leads := f.Log.Leads.Path
	if leads == f.Socket.Path {
		return planSocket(f, c, Adopt, f.Log.Leads)
	}
	p := planSocket(f, c, Adopt, f.Socket)
	if p.Verdict == Refused {
		if f.Socket.Path == names.DefaultSocket && !c.NoReceiver { // where a user may write, say
			return planSocket(f, c, Adopt, f.Log.Leads)
		}
		return p
	}
	if p.Verdict == Healthy { // nobody has to be started
		p = Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: p.Socket, Advice: p.Advice, Steps: prepare(f.Socket.Path)}
	}
	// Before the receiver is started, which removes the link in the end.
	at := len(p.Steps)
	if p.Has(OpStart) || p.Has(OpWatch) {
		at--
	}
	p.Steps = slices.Insert(p.Steps, at, Step{Op: OpPoint, Path: leads, Text: f.Socket.Path})
	return p
}

// planMounted replaces a dead socket that is mounted over /dev/log, by a
// container's configuration mostly, and whose daemon has been restarted since.
// Whatever lies under it is covered by a link.
func planMounted(f Facts, c Choice) Plan {
	if !f.MayMount || c.Strategy == Adopt || c.Strategy == Symlink {
		return refuse("a socket where nobody listens is mounted over /dev/log",
			"take the mount of /dev/log out of the container's configuration")
	}
	return planBind(f, c)
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
		return refuse("/dev/log of a prepared host leads to "+names.DefaultSocket+" for everybody", "leave out --socket")
	}
	link := Step{Op: OpLink, Path: names.LogPath, Text: f.Socket.Path}
	if f.Log.Leads.Live && f.Dev.Sharing != Private && (!f.intruded() || f.Inside) {
		link.Op = OpPreserve
		switch {
		case f.Log.Kind != rootfs.Socket:
			return refuse("/dev/log is a link to another's live socket, which cannot be kept", "leave out --strategy symlink")
		case f.HostPrepared() && !rebound(f):
			return refuse("somebody who is not the host's daemon listens on /dev/log", "leave out --strategy symlink")
		case !f.HostPrepared() && !f.mayPrepare():
			return refuse("the host's socket cannot be kept from inside a container", RepairHost)
		}
	}
	if f.Dev.Sharing != Private && !f.HostPrepared() && f.mayPrepare() {
		p.Steps = append(p.Steps, hostLink())
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
		return refuse("there is no /dev/log to mount a link over, and /dev cannot be written ("+f.Dev.Unwritable+")", RepairHost)
	case f.Log.Kind == rootfs.Absent:
		p.Steps = append(p.Steps, Step{Op: OpPlaceholder, Path: names.LogPath})
	}
	if f.Log.Mounted {
		p.Steps = append(p.Steps, Step{Op: OpUnmount, Path: names.LogPath})
	}
	p.Steps = append(p.Steps, Step{Op: OpMount, Path: names.LogPath, Text: f.Socket.Path})
	return p
}

// planSocket is the part of a plan that makes somebody listen at the place. It
// is refused where that cannot be.
func planSocket(f Facts, c Choice, s Strategy, at PlaceFacts) Plan {
	p := Plan{Verdict: NeedsRepair, Strategy: s, Socket: at.Path, Advice: openUp(at)}
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
	case !c.NoHeal && !f.Watcher:
		p.Steps = append(p.Steps, Step{Op: OpWatch})
	case s == Adopt:
		p = Plan{Verdict: Healthy, Strategy: Adopt, Socket: at.Path, Advice: p.Advice}
		if !listens {
			p.Advice = OwnDaemon + at.Path
		}
	}
	return p
}

// openUp is the advice where only root can send to the place.
func openUp(at PlaceFacts) string {
	if at.Closed == "" {
		return ""
	}
	return "let every user enter " + at.Closed + " (chmod 755 " + at.Closed + "): only root can log"
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

// planRename moves a file that is no socket out of the way, where it may, and goes
// on as if there had been none. Where containers share /dev any of them can have
// put it there, to keep the others from logging.
func planRename(f Facts, c Choice, may bool, rest func(Facts, Choice) Plan) Plan {
	if !may {
		return refuse(fmt.Sprintf("/dev/log is a %s, which no syslog daemon leaves there", f.Log.Kind),
			"look at it, then remove it or have it renamed with --force")
	}
	if f.Dev.Unwritable != "" {
		return refuse(fmt.Sprintf("/dev/log is a %s, and /dev cannot be written (%s)", f.Log.Kind, f.Dev.Unwritable),
			"remove it on the host")
	}
	f.Log = LogFacts{Kind: rootfs.Absent, Leads: PlaceFacts{Path: names.LogPath, Kind: rootfs.Absent, Sharing: f.Dev.Sharing}}
	p := rest(f, c)
	if p.Verdict == NeedsRepair {
		aside := Step{Op: OpRename, Path: names.LogPath, Text: names.OldPath}
		at := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Path == names.LogPath }) // what makes /dev/log
		p.Steps = slices.Insert(p.Steps, at, aside)
	}
	return p
}

func hostLink() Step {
	return Step{Op: OpHostLink, Path: names.DefaultSocket, Text: path.Join(names.Dev, names.HostSocket)}
}

func prepare(socket string) []Step {
	return []Step{{Op: OpPrepare, Path: path.Dir(socket)}}
}

func refuse(reason, advice string) Plan {
	return Plan{Verdict: Refused, Reason: reason, Advice: advice}
}
