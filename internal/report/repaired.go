package report

import (
	"fmt"
	"io"

	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/repair"
	"devlog/internal/syslog"
	"devlog/internal/target"
)

// Repaired writes what the repair of a container did, and what comes next. Each line begins
// with the prefix.
func Repaired(w io.Writer, prefix string, t *target.Target, o repair.Options, r repair.Result) {
	fmt.Fprintln(w, prefix+Done(r))
	if next := next(t, o, r); next != "" {
		fmt.Fprintln(w, prefix+next)
	}
}

// Done returns what the repair of a container did.
func Done(r repair.Result) string {
	if !r.Changed {
		return "nothing to do: syslog() works here"
	}
	return "repaired by " + r.Plan.String()
}

// next returns what the user has to do after the repair of a container, or where its messages
// go. It is empty if nothing changed, or the user's rules say where messages go.
func next(t *target.Target, o repair.Options, r repair.Result) string {
	switch {
	case !r.Changed:
		return ""
	case r.Plan.Advice != "":
		return "now " + syslog.Escape(r.Plan.Advice)
	case o.NoReceiver:
		return "now " + plan.OwnDaemon + syslog.Escape(r.Plan.Socket)
	}
	if file := o.Receiver.Messages(t); file != "" && r.Plan.Has(plan.OpStart) {
		return "messages go to " + file
	}
	return ""
}

// Steps writes the steps of a repair that was not carried out.
func Steps(w io.Writer, p plan.Plan) {
	fmt.Fprintf(w, "would repair by %s:\n", p.Strategy)
	for i, s := range p.Steps {
		fmt.Fprintf(w, "%d. %s\n", i+1, s)
	}
}

// SharersSteps writes what a repair of each container would do.
func SharersSteps(w io.Writer, list []hosts.Sharer) {
	for _, s := range list {
		fmt.Fprintf(w, "container %s (process %d): %s\n", syslog.Escape(s.Shown()), s.PID, s.Plan)
	}
}
