package plan

import (
	"fmt"
	"path"
)

// planSocket is the part of a plan after which somebody listens at the path. It is refused
// if that cannot work.
func planSocket(f Facts, c Choice, s Strategy, at PathFacts) Plan {
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
	listens := at.Live && len(p.Steps) == 0 // a tmpfs hides the present socket
	p.Steps = append(p.Steps, prepare(at.Path)...)
	switch {
	case !listens && !c.NoReceiver:
		p.Steps = append(p.Steps, Step{Op: OpListen, Path: at.Path}, Step{Op: OpStart})
	case !c.NoAutoRepair && !f.Watcher:
		p.Steps = append(p.Steps, Step{Op: OpWatch})
	case s == Adopt:
		p = Plan{Verdict: Healthy, Strategy: Adopt, Socket: at.Path, Advice: p.Advice}
		if !listens {
			p.Advice = OwnDaemon + at.Path
		}
	}
	return p
}

// openUp is the advice if only root can send to the socket.
func openUp(at PathFacts) string {
	if at.Closed == "" {
		return ""
	}
	return "let every user enter " + at.Closed + " (chmod 755 " + at.Closed + "), or only root can log"
}

// OwnDaemon begins the advice if only the container's own syslog daemon is missing. The
// socket's path follows.
const OwnDaemon = "let the container's own daemon listen on "

// notPrivate says why a socket at that path would not belong to this container alone, or
// could not be created; empty if it would.
func notPrivate(at PathFacts) string {
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
