package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"devlog/internal/names"
	"devlog/internal/rootfs"
	"devlog/internal/syslog"
)

// Strategy is a way to make /dev/log point to a private socket.
type Strategy string

// The strategies.
const (
	// Auto chooses the one that changes least.
	Auto Strategy = "auto"
	// Adopt listens where the link /dev/log already points.
	Adopt Strategy = "adopt"
	// Symlink makes /dev/log a link to the private socket.
	Symlink Strategy = "symlink"
	// Bind mounts a link over /dev/log, only in the container's mount namespace.
	Bind Strategy = "bind"
)

// ParseStrategy returns the strategy with that name.
func ParseStrategy(name string) (Strategy, error) {
	switch s := Strategy(name); s {
	case Auto, Adopt, Symlink, Bind:
		return s, nil
	}
	return "", fmt.Errorf("unknown strategy %q: want auto, adopt, symlink or bind", name)
}

// Verdict is the result of a plan.
type Verdict string

// The verdicts.
const (
	Healthy     Verdict = "healthy"
	NeedsRepair Verdict = "needs repair"
	Refused     Verdict = "refused"
)

// Op is what a step does.
type Op string

// The steps' operations.
const (
	OpTmpfs       Op = "mount a tmpfs"    // over the directory Path
	OpPrepare     Op = "prepare"          // create the directory Path, and record there what undo needs
	OpListen      Op = "listen"           // bind a socket at Path
	OpListenToo   Op = "listen too"       // bind a further socket at Path, if that is possible
	OpStart       Op = "start"            // start the receiver
	OpHand        Op = "hand over"        // hand the further sockets over to the receiver that runs
	OpWatch       Op = "watch"            // start a receiver that only watches /dev/log
	OpPoint       Op = "point"            // make Path, a path of this container alone, a link to Text
	OpRename      Op = "rename"           // rename Path to Text beside it
	OpHostLink    Op = "link on the host" // on the host, make Path a link to Text
	OpLink        Op = "link"             // make Path a link to Text in one step
	OpPreserve    Op = "preserve"         // the same, and keep the host's socket
	OpUnmount     Op = "unmount"          // unmount what is mounted over Path
	OpPlaceholder Op = "placeholder"      // make Path a socket where nobody listens, to mount over
	OpMount       Op = "mount"            // mount a link to Text over Path
)

// Step is one step of a plan.
type Step struct {
	Op   Op     `json:"op"`
	Path string `json:"path,omitempty"`
	Text string `json:"text,omitempty"`
}

// String describes the step. Paths can be a container's choice and are escaped.
func (s Step) String() string { return syslog.Escape(s.inWords()) }

func (s Step) inWords() string {
	switch s.Op {
	case OpTmpfs:
		return fmt.Sprintf("mount a tmpfs at %s, in this container only", s.Path)
	case OpPrepare:
		return fmt.Sprintf("create %s if it is missing, and record there what undo needs", s.Path)
	case OpListen, OpListenToo:
		return "listen on " + s.Path
	case OpHand:
		return "hand it over to the receiver that runs"
	case OpStart:
		return "start the receiver"
	case OpWatch:
		return "start a watcher of /dev/log"
	case OpRename:
		return fmt.Sprintf("rename %s to %s", s.Path, s.Text)
	case OpHostLink:
		return fmt.Sprintf("make %s a link to %s on the host", s.Path, s.Text)
	case OpLink, OpPoint:
		return fmt.Sprintf("make %s a link to %s", s.Path, s.Text)
	case OpUnmount:
		return fmt.Sprintf("unmount the dead socket at %s, in this container only", s.Path)
	case OpPlaceholder:
		return fmt.Sprintf("make %s a socket where nobody listens", s.Path)
	case OpPreserve:
		return fmt.Sprintf("make %s a link to %s, and keep the host's socket as %s", s.Path, s.Text, path.Join(names.Dev, names.HostSocket))
	case OpMount:
		return fmt.Sprintf("mount a link to %s over %s, in this container only", s.Text, s.Path)
	}
	return string(s.Op)
}

// Plan is what to do about the facts.
type Plan struct {
	Verdict  Verdict  `json:"verdict"`
	Strategy Strategy `json:"strategy,omitempty"`
	// Socket is the path of the private socket, in the container.
	Socket string `json:"socket,omitempty"`
	Steps  []Step `json:"steps,omitempty"`
	// Reason is why the plan is refused. Advice is what the user has to do, with any
	// verdict.
	Reason string `json:"reason,omitempty"`
	Advice string `json:"advice,omitempty"`
}

// String describes the plan in one line. What a container can choose is escaped.
func (p Plan) String() string {
	words := p.inWords()
	if hint := p.hint(); hint != "" {
		words += "; hint: " + hint
	}
	return syslog.Escape(words)
}

// hint is the advice of a plan without steps. After a repair, the advice is printed instead.
func (p Plan) hint() string {
	if p.Verdict == NeedsRepair {
		return ""
	}
	return p.Advice
}

// inWords describes the plan without its advice.
func (p Plan) inWords() string {
	switch {
	case p.Verdict == Refused:
		return "refused: " + p.Reason
	case p.Verdict == Healthy && p.Advice != "":
		return "nothing to do here"
	case p.Verdict == Healthy:
		return "nothing to do"
	}
	var words []string
	for _, s := range p.Steps {
		if s.Op != OpStart && s.Op != OpPrepare && s.Op != OpHand { // every repair has them
			words = append(words, s.String())
		}
	}
	if p.Strategy == Adopt {
		words = append(words, "nothing in /dev changes")
	}
	return string(p.Strategy) + ": " + strings.Join(words, "; ")
}

// Works returns whether a message sent to /dev/log already arrives where it should.
func (p Plan) Works() bool { return p.Verdict == Healthy && p.Advice == "" }

// Pointed returns the path that becomes a link to the private socket; empty if none does.
func (p Plan) Pointed() string {
	for _, s := range p.Steps {
		if s.Op == OpPoint {
			return s.Path
		}
	}
	return ""
}

// Restores returns whether the plan makes /dev/log the link again that it was.
func (p Plan) Restores(f Facts) bool {
	return f.Former.Kind == rootfs.Link && slices.Contains(p.Steps, Step{Op: OpLink, Path: names.LogPath, Text: f.Former.Link})
}

// Has returns whether the plan has a step with that operation.
func (p Plan) Has(op Op) bool {
	for _, s := range p.Steps {
		if s.Op == op {
			return true
		}
	}
	return false
}
