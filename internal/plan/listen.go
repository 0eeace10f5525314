package plan

import (
	"fmt"
	"slices"

	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// ListenFacts are the facts about a further socket, which is not followed if it is a link.
type ListenFacts struct {
	PathFacts
	// Asked says that this repair is asked for it.
	Asked bool `json:"asked,omitempty"`
	// Ours says that the receiver of an earlier repair listens there.
	Ours bool `json:"ours,omitempty"`
}

// addListen adds the steps for the further sockets that are asked for. One that cannot be made
// is left out: see ListenFacts.Problem.
func addListen(p Plan, f Facts) Plan {
	starts := p.Has(OpStart)
	runs := f.Receiver.State == Running
	if p.Verdict == Refused || !starts && !runs {
		return p
	}
	var steps []Step
	for _, l := range f.Listen {
		if l.Asked && l.problem() == "" && (starts || !l.Ours) { // one that is replaced takes its sockets along
			steps = append(steps, Step{Op: OpListenToo, Path: l.Path})
		}
	}
	if len(steps) == 0 {
		return p
	}
	if starts {
		at := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Op == OpStart })
		p.Steps = slices.Insert(p.Steps, at, steps...)
		return p
	}
	if p.Verdict == Healthy {
		socket := f.Log.Target.Path
		p = Plan{Verdict: NeedsRepair, Strategy: Adopt, Socket: socket, Advice: p.Advice, Steps: prepare(socket)}
	}
	p.Steps = append(append(p.Steps, steps...), Step{Op: OpHand})
	return p
}

// problem is why nothing can be made there; empty if a socket can be, or is ours.
func (l ListenFacts) problem() string {
	switch {
	case l.Ours:
		return ""
	case l.Live:
		return "somebody else listens there"
	case !l.socketOrNothing():
		return fmt.Sprintf("it is a %s, not a socket", l.Kind)
	case l.Sharing != Private:
		return "its directory is not the container's own"
	}
	return l.Unwritable
}

// Unheard returns a sentence for each further socket that is asked for and that the plan
// neither finds nor makes.
func (p Plan) Unheard(f Facts) (list []string) {
	for _, l := range f.Listen {
		made := slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Op == OpListenToo && s.Path == l.Path })
		if !l.Asked || l.Ours || made {
			continue
		}
		why := l.problem()
		if why == "" {
			why = f.noReceiver()
		}
		list = append(list, "cannot listen on "+l.Path+": "+why)
	}
	return list
}

// noReceiver is why there is no receiver that could listen on further sockets.
func (f Facts) noReceiver() string {
	if f.Receiver.State == Elsewhere {
		return "the receiver cannot be seen from here; hint: run devlog-hook on the host"
	}
	return "the container's own daemon receives what is sent to /dev/log; hint: let it listen there too"
}

// inWords describes the further socket, as the end of a sentence about it.
func (l ListenFacts) inWords() string {
	switch {
	case l.Ours:
		return "where the receiver listens"
	case l.problem() != "":
		return "where the receiver does not listen: " + l.problem()
	case l.Kind == rootfs.Absent:
		return "which does not exist: repair it with " + l.option()
	}
	return "where nobody listens: repair it with " + l.option()
}

// option is the option that asks for the further socket.
func (l ListenFacts) option() string {
	if names.OfJournal(l.Path) {
		return "--journal"
	}
	return "--listen " + l.Path
}
