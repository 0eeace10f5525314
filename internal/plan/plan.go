package plan

import (
	"cmp"
	"fmt"
	"path"
	"slices"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// Choice is what the caller of a repair can choose about the plan.
type Choice struct {
	Strategy Strategy
	// NoReceiver leaves the private socket to the container's own syslog daemon.
	NoReceiver bool
	// NoAutoRepair starts no watcher.
	NoAutoRepair bool
	// Watch starts a watcher on a host; by default none stays there.
	Watch bool
	// Force renames a file that is not a socket.
	Force bool
}

// New decides what to do about a container's /dev/log and its further sockets. It depends only
// on its arguments.
func New(f Facts, c Choice) Plan { return addListen(planLog(f, c), f) }

// planLog decides what to do about /dev/log.
func planLog(f Facts, c Choice) Plan {
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
		return refuse("a container's daemon listens on the host's /dev/log", RepairHost)
	case f.Log.Mounted:
		return planMounted(f, c)
	case !nameOfSocket(f.Log.Kind):
		return planRename(f, c, c.Force || f.Dev.Sharing != Private, planLog)
	}
	if p := planFormer(f, c); p.Verdict == NeedsRepair {
		return p
	}
	if !f.Log.Target.socketOrNothing() && !f.Log.ofAnybody(f.Dev) {
		return refuse(fmt.Sprintf("/dev/log points to %s, a %s", f.Log.Target.Path, f.Log.Target.Kind),
			"remove it, or point /dev/log elsewhere")
	}
	switch c.Strategy {
	case Adopt:
		if f.Log.ofAnybody(f.Dev) && !f.Log.Known {
			return refuse(unknownPath(f), listPath(f))
		}
		if !adoptable(f) {
			return refuse("/dev/log is not a link to a path of this container's own, so it cannot be adopted",
				"leave out --strategy adopt")
		}
		return planAdopt(f, c)
	case Symlink:
		return planSymlink(f, c)
	case Bind:
		return planBind(f, c)
	}
	switch {
	case adoptable(f) && !hostLinkReplaced(f) && (f.Dev.Sharing != Private || f.Dev.Unwritable != "" || f.Log.Target.Path == f.Socket.Path):
		return planAdopt(f, c)
	case f.Dev.Unwritable != "":
		if !f.MayMount {
			return refuse("/dev cannot be written ("+f.Dev.Unwritable+") and nothing may be mounted here",
				"run devlog-hook on the host, with --pid")
		}
		return planBind(f, c)
	case otherSocket(f) && f.MayMount && f.Log.Kind != rootfs.Absent:
		return planBind(f, c)
	case f.Log.ofAnybody(f.Dev):
		return planLink(f, c)
	case !f.Log.Target.Live && !mayLink(f) && f.MayMount:
		return planBind(f, c)
	case !f.Log.Target.Live || rebound(f) || f.intruded() && !f.Inside:
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

// planFormer makes /dev/log the link again on which others rely, and plans for the container as if
// it had never been anything else. Without such a link the plan is empty.
func planFormer(f Facts, c Choice) Plan {
	if f.Former.Kind != rootfs.Link || f.Dev.Unwritable != "" || c.Strategy == Symlink {
		return Plan{}
	}
	link := Step{Op: OpLink, Path: names.LogPath, Text: f.Former.Link}
	f.Log, f.Former = f.Former, LogFacts{}
	p := planLog(f, c)
	if p.Verdict == Refused || p.Has(OpLink) { // the link does not work in this container
		return Plan{}
	}
	if p.Verdict == Healthy {
		p = Plan{Verdict: NeedsRepair, Socket: cmp.Or(p.Socket, f.Socket.Path), Steps: prepare(f.Socket.Path), Advice: p.Advice}
	}
	at := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Op == OpMount })
	if at < 0 {
		at, p.Strategy = len(p.Steps), Symlink
	}
	p.Steps = slices.Insert(p.Steps, at, link)
	return p
}

// planLink replaces or covers a link in a shared /dev that cannot be adopted. Root of
// any container can have made it. A link that dangles here may work on the host or in
// other containers.
func planLink(f Facts, c Choice) Plan {
	l := f.Log.Target
	harmless := !l.Live && !f.Log.OnHost && (f.HostPrepared() || f.mayPrepare())
	switch {
	case hostLinkReplaced(f), harmless:
		return planSymlink(f, c)
	case f.MayMount:
		return planBind(f, c)
	case !l.Live && path.Dir(l.Path) == names.Dev: // a loop: it works nowhere
		return planSymlink(f, c)
	case f.Log.Known && l.Live:
		return refuse("/dev/log points to "+l.Path+", where another container or the host listens", RepairHost)
	case f.Log.Known:
		return refuse("nobody can listen on "+l.Path+", to which /dev/log points", RepairHost)
	}
	return refuse(unknownPath(f), listPath(f))
}

// unknownPath is why a link in a shared /dev is not adopted.
func unknownPath(f Facts) string {
	return "/dev/log points to " + f.Log.Link + ", and any container that shares /dev can have made that link"
}

// listPath is the advice for a link that the administrator may have made.
func listPath(f Facts) string {
	if !path.IsAbs(f.Log.Link) {
		return RepairHost
	}
	return "use --adopt " + path.Clean(f.Log.Link) + " if a daemon of the host or the container will listen there; otherwise " + RepairHost
}

// ofAnybody returns whether root of any container can have made the link.
func (l LogFacts) ofAnybody(dev DevFacts) bool {
	return l.Kind == rootfs.Link && dev.Sharing != Private
}

// trusted returns whether messages may go where /dev/log points: nobody outside this container
// chose that path, or one of its own processes listens there.
func (f Facts) trusted() bool {
	if f.hostReplaced() {
		return false
	}
	return !f.Log.ofAnybody(f.Dev) || f.Log.Known || f.Log.Target.Here || f.Inside && f.NotRoot
}

// RepairHost is the advice if only a prepared host helps.
const RepairHost = "run devlog-hook repair --host on the host once"

// mayLink returns whether a link at /dev/log harms nobody. On the host it must not dangle:
// syslog-ng and busybox syslogd do not start over a dangling link.
func mayLink(f Facts) bool {
	return f.Dev.Sharing == Private || f.Host || f.HostPrepared() || f.mayPrepare()
}

// mayPrepare returns whether this program can prepare the host, so that a link to the private
// socket works there too.
func (f Facts) mayPrepare() bool { return f.MayPrepare && f.Socket.Path == names.DefaultSocket }

// healthy returns whether a message sent to /dev/log reaches this container's own listener.
func healthy(f Facts) bool {
	l := f.Log.Target
	return l.Live && !l.Foreign && (l.Sharing == Private || f.Dev.Sharing == Private) && !f.intruded() && f.trusted()
}

// adoptable returns whether /dev/log is a link to a path of this container alone where nobody
// listens: the private socket, or a path where a link to it can be made. In a shared /dev
// the path must be a known one.
func adoptable(f Facts) bool {
	l := f.Log.Target
	if f.Log.Kind != rootfs.Link || l.Sharing != Private || f.Dev.Sharing != Private && !f.Log.Known {
		return false
	}
	if l.Path == f.Socket.Path {
		return (l.free() || l.Foreign) && (notPrivate(l) == "" || l.MountAt != "")
	}
	return l.free() && notPrivate(l) == ""
}

// rebound returns whether the socket at /dev/log is a new one of the host's daemon, which was
// restarted on a prepared host. If the host's old socket is live too, the daemon never
// ended, and the new socket is somebody else's.
func rebound(f Facts) bool {
	if !f.HostPrepared() || f.Log.Kind != rootfs.Socket || !f.Inside && !f.Log.Target.Here {
		return false // the host can see whose socket it is
	}
	return !f.HostSocket.Live || f.HostSocket.ID == f.Log.ID
}

// hostLinkReplaced returns whether somebody replaced the link of a prepared host by another.
// Containers could listen there; the host's daemon, which runs, does not, and the host's
// messages would be lost.
func hostLinkReplaced(f Facts) bool {
	l := f.Log.Target
	return f.HostSocket.Live && f.Log.Kind == rootfs.Link && !l.Live && l.Path != names.DefaultSocket &&
		f.Socket.Path == names.DefaultSocket && f.Dev.Unwritable == ""
}

// otherSocket returns whether the user chose another private socket than the one to which the
// link of a prepared host points. A link to it would cut off the host and all other
// containers.
func otherSocket(f Facts) bool {
	return f.HostPrepared() && !f.Host && f.Dev.Sharing != Private && f.Socket.Path != names.DefaultSocket
}

// startDaemon is the advice on a prepared host where nobody listens.
const startDaemon = "start the host's syslog daemon, or restart it if it runs"

// restartDaemon is the advice if the daemon's socket has lost its name.
const restartDaemon = "restart the host's syslog daemon, then run devlog-hook repair --host"

// hostSocketReplaced is why a prepared host is refused: its /dev/.devlog-host was replaced.
const hostSocketReplaced = "a container's daemon has replaced the host's socket /dev/.devlog-host"

// awaits is the advice on a prepared host where nobody listens. If the socket's name is
// gone, the daemon may still run, but it may not start again.
func (f Facts) awaits() string {
	if f.journalCutOff() {
		return RepairHost
	}
	if f.hostSocketLost() {
		return "run devlog-hook repair --host, then restart the host's syslog daemon"
	}
	return startDaemon
}

// awaitsDaemon returns whether the host is prepared and its daemon does not run.
func awaitsDaemon(f Facts) bool {
	l := f.Log.Target
	return f.Log.Kind == rootfs.Link && l.Path == path.Join(names.Dev, names.HostSocket) && !l.Live
}

func nameOfSocket(k rootfs.Kind) bool {
	return k == rootfs.Link || k == rootfs.Absent || k == rootfs.Socket
}

// planHealthy is the plan if messages already arrive. At most a watcher is missing.
func planHealthy(f Facts, c Choice) Plan {
	if !c.NoReceiver || c.NoAutoRepair || f.Watcher {
		return Plan{Verdict: Healthy, Advice: openUp(f.Log.Target)}
	}
	return Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: f.Log.Target.Path, Advice: openUp(f.Log.Target),
		Steps: append(prepare(f.Log.Target.Path), Step{Op: OpWatch})}
}

// planAdopt changes nothing in /dev. If /dev/log does not point to the private socket,
// the path to which it points becomes a link to that socket.
func planAdopt(f Facts, c Choice) Plan {
	dest := f.Log.Target.Path
	if dest == f.Socket.Path {
		return planSocket(f, c, Adopt, f.Log.Target)
	}
	p := planSocket(f, c, Adopt, f.Socket)
	if p.Verdict == Refused {
		if f.Socket.Path == names.DefaultSocket && !c.NoReceiver { // a directory where a user may write, for example
			return planSocket(f, c, Adopt, f.Log.Target)
		}
		return p
	}
	if p.Verdict == Healthy { // no receiver is needed
		p = Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: p.Socket, Advice: p.Advice, Steps: prepare(f.Socket.Path)}
	}
	// Before the receiver starts: it removes the link when it ends.
	at := len(p.Steps)
	if p.Has(OpStart) || p.Has(OpWatch) {
		at--
	}
	p.Steps = slices.Insert(p.Steps, at, Step{Op: OpPoint, Path: dest, Text: f.Socket.Path})
	return p
}

// planMounted replaces a dead socket that is mounted over /dev/log. Usually the
// container's configuration mounts it, and the host's daemon was restarted since. A link
// covers whatever is under it.
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
	if otherSocket(f) {
		return refuse("/dev/log of a prepared host points to "+names.DefaultSocket+" for everybody", "leave out --socket")
	}
	link := Step{Op: OpLink, Path: names.LogPath, Text: f.Socket.Path}
	if f.Log.Target.Live && f.Dev.Sharing != Private && (!f.intruded() || f.Inside) {
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

// planRename renames a /dev/log that is not a socket, if may allows it, and continues as if
// /dev/log were absent. If containers share /dev, any of them can have put it there to stop
// the others from logging.
func planRename(f Facts, c Choice, may bool, rest func(Facts, Choice) Plan) Plan {
	if !may {
		return refuse(fmt.Sprintf("/dev/log is a %s, not a socket or link", f.Log.Kind),
			"check it, then remove it, or rename it with --force")
	}
	if f.Dev.Unwritable != "" {
		return refuse(fmt.Sprintf("/dev/log is a %s, and /dev cannot be written (%s)", f.Log.Kind, f.Dev.Unwritable),
			"remove it on the host")
	}
	f.Log = LogFacts{Kind: rootfs.Absent, Target: PathFacts{Path: names.LogPath, Kind: rootfs.Absent, Sharing: f.Dev.Sharing}}
	p := rest(f, c)
	if p.Verdict == NeedsRepair {
		rename := Step{Op: OpRename, Path: names.LogPath, Text: names.OldPath}
		at := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Path == names.LogPath }) // the step that makes /dev/log
		p.Steps = slices.Insert(p.Steps, at, rename)
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
