package plan

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// NewHost decides what to do on the host itself, so that every container that shares its
// /dev can have its own log. It depends only on its arguments.
func NewHost(f Facts, c Choice) Plan {
	p := planHost(f, c)
	if !c.Watch || f.Watcher {
		return p
	}
	switch p.Verdict {
	case Healthy:
		p = Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: names.DefaultSocket, Advice: p.Advice,
			Steps: append(prepare(names.DefaultSocket), Step{Op: OpWatch})}
	case NeedsRepair: // right after the record, which names the watcher
		p.Steps = slices.Insert(p.Steps, 1, Step{Op: OpWatch})
	}
	return p
}

func planHost(f Facts, c Choice) Plan {
	dest := f.Log.Target
	prepared := Plan{Verdict: NeedsRepair, Strategy: Symlink, Socket: names.DefaultSocket, Steps: append(prepare(names.DefaultSocket), hostLink())}
	switch {
	case f.Dev.Kind != rootfs.Directory:
		return refuse("there is no directory /dev", "run this on the host")
	case f.NotHost != "" && !c.Force:
		return refuse(f.NotHost, "run this on the host, or with --force if this is it")
	case f.hostReplaced():
		return refuse(hostSocketReplaced, restartDaemon)
	case f.journalCutOff():
		return Plan{Verdict: NeedsRepair, Strategy: Symlink, Socket: names.DefaultSocket,
			Steps: append(prepare(names.DefaultSocket), Step{Op: OpLink, Path: names.LogPath, Text: names.JournalSocket})}
	case f.Log.Kind == rootfs.Link && dest.Path == names.DefaultSocket && dest.Kind == rootfs.Absent:
		return prepared // the link on the host's side is missing
	case f.hostSocketLost():
		prepared.Advice = restartDaemon
		return prepared
	case f.Log.Kind == rootfs.Link && (dest.Path == path.Join(names.Dev, names.HostSocket) || path.Dir(dest.Path) != names.Dev) && !hostLinkReplaced(f) &&
		(dest.Live || f.Log.Known && !dest.blocked()):
		switch {
		case !dest.Live: // containers have all they need, the host itself does not
			return Plan{Verdict: Healthy, Advice: f.awaits()}
		case !f.Log.Known:
			return Plan{Verdict: Healthy, Advice: "use --adopt " + f.Log.Link + " in the hooks: containers do not adopt an unknown path"}
		}
		return Plan{Verdict: Healthy}
	case f.Dev.Unwritable != "":
		return refuse("/dev cannot be written ("+f.Dev.Unwritable+")", RunAsRoot+" on the host")
	case !nameOfSocket(f.Log.Kind):
		return planRename(f, c, true, planHost)
	case f.Log.Kind == rootfs.Link && dest.Live:
		return refuse("/dev/log points to "+dest.Path+", which containers share", "let the host's daemon listen on /dev/log itself")
	case f.intruded():
		prepared.Steps = append(prepared.Steps, Step{Op: OpLink, Path: names.LogPath, Text: names.DefaultSocket})
		prepared.Advice = "let the daemon that took /dev/log listen on " + names.DefaultSocket + " in its container"
	case dest.Live && !dest.Here && f.HostSocket.Live && f.HostSocket.ID != f.Log.ID:
		return refuse("the host's daemon still listens on /dev/"+names.HostSocket+", and somebody else on /dev/log",
			"let that daemon listen on /run/devlog/log in its container")
	case dest.Live:
		prepared.Steps = append(prepared.Steps, Step{Op: OpPreserve, Path: names.LogPath, Text: names.DefaultSocket})
	default:
		prepared.Steps = append(prepared.Steps, Step{Op: OpLink, Path: names.LogPath, Text: names.DefaultSocket})
		prepared.Advice = startDaemon
	}
	return prepared
}

// journalCutOff returns whether systemd's journal receives on this host, and /dev/log does not
// point to it any more: root of a container that shares /dev removed the name, or a repair of
// such a container made it a link to the private socket. A daemon that is only being restarted
// takes the name again when it starts.
func (f Facts) journalCutOff() bool {
	return f.Journal && !f.HostSocket.Live && f.Dev.Unwritable == "" && !f.Log.Target.Live &&
		(f.Log.Kind == rootfs.Link || f.Log.Kind == rootfs.Absent)
}

// RunAsRoot is the advice if only privileges are missing.
const RunAsRoot = "run this as root"

// Advised is the plan p of a user who is not root. If p is refused and root's plan is not,
// it advises to run as root.
func Advised(p, ofRoot Plan) Plan {
	if p.Verdict == Refused && ofRoot.Verdict != Refused {
		p.Advice = RunAsRoot
	}
	return p
}

// NotSeen is why this may be a container: only root can see whose socket it is.
const NotSeen = "cannot see who listens on /dev/log, so this may be a container"

// ToRoot returns the facts as root would probably find them.
func (f Facts) ToRoot() Facts {
	f.MayMount = !f.Host
	if f.NotHost == NotSeen {
		f.NotHost = ""
	}
	for _, why := range []*string{&f.Dev.Unwritable, &f.Log.Target.Unwritable, &f.Socket.Unwritable} {
		if *why == unix.EACCES.Error() || *why == unix.EPERM.Error() {
			*why = ""
		}
	}
	return f
}
