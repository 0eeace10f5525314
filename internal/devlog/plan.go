package devlog

import (
	"fmt"
	"path"
	"strings"

	"devlog/internal/rootfs"
)

// Strategy is a way to make /dev/log lead to a private socket.
type Strategy string

// The strategies.
const (
	// Auto chooses the one that changes least.
	Auto Strategy = "auto"
	// Adopt listens where the link /dev/log leads already.
	Adopt Strategy = "adopt"
	// Symlink makes /dev/log a link to the private socket.
	Symlink Strategy = "symlink"
	// Bind mounts a link over /dev/log, in the container's namespace only.
	Bind Strategy = "bind"
)

// ParseStrategy returns the strategy of that name.
func ParseStrategy(name string) (Strategy, error) {
	switch s := Strategy(name); s {
	case Auto, Adopt, Symlink, Bind:
		return s, nil
	}
	return "", fmt.Errorf("strategy %q does not exist: use auto, adopt, symlink or bind", name)
}

// Verdict is what a plan comes to.
type Verdict string

// The verdicts.
const (
	Healthy     Verdict = "healthy"
	NeedsRepair Verdict = "needs repair"
	Refused     Verdict = "refused"
)

// Op is what a step does.
type Op string

// The steps' operations, in the order in which they can stand in a plan.
const (
	OpMoveAside Op = "move aside" // rename Path to Text beside it
	OpListen    Op = "listen"     // bind a socket at Path
	OpStart     Op = "start"      // start the receiver
	OpLink      Op = "link"       // make Path a link to Text in one step
	OpPreserve  Op = "preserve"   // keep the host's socket at Text while Path is replaced
	OpMount     Op = "mount"      // mount a link to Text over Path
)

// Step is one step of a plan.
type Step struct {
	Op   Op     `json:"op"`
	Path string `json:"path,omitempty"`
	Text string `json:"text,omitempty"`
}

// String says in words what the step does.
func (s Step) String() string {
	switch s.Op {
	case OpMoveAside:
		return fmt.Sprintf("rename %s to %s", s.Path, s.Text)
	case OpListen:
		return "listen on " + s.Path
	case OpStart:
		return "start the receiver"
	case OpLink:
		return fmt.Sprintf("make %s a link to %s", s.Path, s.Text)
	case OpPreserve:
		return "keep the host's socket as " + s.Text
	case OpMount:
		return fmt.Sprintf("mount a link to %s over %s, in this container only", s.Text, s.Path)
	}
	return string(s.Op)
}

// Plan is what to do about the facts.
type Plan struct {
	Verdict  Verdict  `json:"verdict"`
	Strategy Strategy `json:"strategy,omitempty"`
	// Socket is the path that the receiver listens on, in the container.
	Socket string `json:"socket,omitempty"`
	Steps  []Step `json:"steps,omitempty"`
	// Reason is what stands in the way of a refused plan, and Advice what can
	// be done about it.
	Reason string `json:"reason,omitempty"`
	Advice string `json:"advice,omitempty"`
}

// String says the plan in one line.
func (p Plan) String() string {
	switch p.Verdict {
	case Healthy:
		return "nothing to do"
	case Refused:
		return "refused: " + p.Reason + "; " + p.Advice
	}
	words := make([]string, 0, len(p.Steps))
	for _, s := range p.Steps {
		if s.Op != OpStart || len(p.Steps) == 1 { // it goes with listening
			words = append(words, s.String())
		}
	}
	if p.Strategy == Adopt {
		words = append(words, "nothing in /dev changes")
	}
	return string(p.Strategy) + ": " + strings.Join(words, "; ")
}

// Choice is what whoever asks for a repair can choose about the plan.
type Choice struct {
	Strategy Strategy
	// NoReceiver leaves the private socket to a syslog daemon of the
	// container's own.
	NoReceiver bool
	// Force moves a file that is no socket out of the way.
	Force bool
}

// NewPlan decides what to do. It looks at nothing but its arguments.
func NewPlan(f Facts, c Choice) Plan {
	switch {
	case f.Dev.Kind != rootfs.Directory:
		return refuse("there is no directory /dev", "mount one into the container")
	case healthy(f):
		return Plan{Verdict: Healthy}
	case f.Log.Kind != rootfs.Link && f.Log.Kind != rootfs.Absent && f.Log.Kind != rootfs.Socket:
		return planAside(f, c)
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
	case adoptable(f) && (f.Dev.Sharing != Private || f.Dev.Unwritable != "" || f.Log.Leads.Path == f.Socket.Path):
		return planAdopt(f, c)
	case f.Dev.Unwritable != "":
		if !f.MayMount {
			return refuse("/dev cannot be written ("+f.Dev.Unwritable+") and nothing may be mounted here",
				"run devlog-hook on the host, with --pid")
		}
		return planBind(f, c)
	case !f.Log.Leads.Live || f.HostPrepared:
		return planSymlink(f, c)
	case f.MayMount:
		return planBind(f, c)
	}
	return refuse("/dev is the host's too, and somebody else listens on /dev/log",
		"run devlog-hook repair --host on the host once")
}

// healthy says that a message sent to /dev/log arrives with this container's
// own listener.
func healthy(f Facts) bool {
	return f.Log.Leads.Live && (f.Log.Leads.Sharing == Private || f.Dev.Sharing == Private)
}

// adoptable says that /dev/log is a link to a place of this container alone
// where nobody listens.
func adoptable(f Facts) bool {
	return f.Log.Kind == rootfs.Link && f.Log.Leads.Sharing == Private && f.Log.Leads.free()
}

func planAdopt(f Facts, c Choice) Plan {
	p := Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: f.Log.Leads.Path}
	if c.NoReceiver {
		// The container's own daemon will listen where the link leads.
		return Plan{Verdict: Healthy, Strategy: Adopt, Socket: p.Socket}
	}
	p.Steps = listen(f.Log.Leads)
	return p
}

func planSymlink(f Facts, c Choice) Plan {
	p, ok := planSocket(f, c, Symlink)
	if !ok {
		return p
	}
	if f.Dev.Unwritable != "" {
		return refuse("/dev cannot be written ("+f.Dev.Unwritable+")", "leave out --strategy symlink")
	}
	if f.Log.Leads.Live && f.Dev.Sharing != Private {
		p.Steps = append(p.Steps, Step{Op: OpPreserve, Path: logPath, Text: path.Join(devDir, hostName)})
	}
	p.Steps = append(p.Steps, Step{Op: OpLink, Path: logPath, Text: f.Socket.Path})
	return p
}

func planBind(f Facts, c Choice) Plan {
	p, ok := planSocket(f, c, Bind)
	if !ok {
		return p
	}
	if !f.MayMount {
		return refuse("nothing may be mounted here", "leave out --strategy bind")
	}
	p.Steps = append(p.Steps, Step{Op: OpMount, Path: logPath, Text: f.Socket.Path})
	return p
}

// planSocket is the part of a plan that makes somebody listen at the private
// socket; it is not ok where that cannot be.
func planSocket(f Facts, c Choice, s Strategy) (p Plan, ok bool) {
	switch {
	case f.Socket.Sharing != Private:
		return refuse(f.Socket.Path+" is not in a directory of this container's own",
			"name a private place with --socket"), false
	case !f.Socket.socketOrNothing():
		return refuse(fmt.Sprintf("%s is a %s", f.Socket.Path, f.Socket.Kind),
			"remove it, or name another place with --socket"), false
	}
	p = Plan{Verdict: NeedsRepair, Strategy: s, Socket: f.Socket.Path}
	if f.Socket.free() && !c.NoReceiver {
		p.Steps = listen(f.Socket)
	}
	return p, true
}

// planAside moves a file that is no socket out of the way, where that is
// wanted, and goes on as if there had been none.
func planAside(f Facts, c Choice) Plan {
	if !c.Force {
		return refuse(fmt.Sprintf("/dev/log is a %s, which no syslog daemon leaves there", f.Log.Kind),
			"look at it, then remove it or have it renamed with --force")
	}
	if f.Dev.Unwritable != "" {
		return refuse(fmt.Sprintf("/dev/log is a %s, and /dev cannot be written (%s)", f.Log.Kind, f.Dev.Unwritable),
			"remove it on the host")
	}
	f.Log = LogFacts{Kind: rootfs.Absent, Leads: PlaceFacts{Path: logPath, Kind: rootfs.Absent, Sharing: f.Dev.Sharing}}
	p := NewPlan(f, c)
	if p.Verdict == NeedsRepair {
		aside := Step{Op: OpMoveAside, Path: logPath, Text: logPath + ".devlog-old"}
		p.Steps = append([]Step{aside}, p.Steps...)
	}
	return p
}

func listen(at PlaceFacts) []Step {
	return []Step{{Op: OpListen, Path: at.Path}, {Op: OpStart}}
}

func refuse(reason, advice string) Plan {
	return Plan{Verdict: Refused, Reason: reason, Advice: advice}
}
