package router

import (
	"errors"
	"slices"
	"time"

	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/sink"
	"devlog/internal/syslogconf"
)

// Routing is where messages go.
type Routing struct {
	Sender bool // a rule needs to know who sent a message
	Mark   bool // a rule needs claimed process IDs to be checked

	routes   []Route
	opened   []output.Output // outputs that were opened for it
	rotated  []rotated       // open files whose rotation changes
	problems []kernelProblem
	remarks  []string
}

// rotated is a file whose rotation changes.
type rotated struct {
	file     *logfile.Guarded
	rotation logfile.Rotation
}

// Prepare opens the outputs of the rules that are not open yet. It changes nothing else, and
// after an error nothing stays open.
func (r *Router) Prepare(rules []syslogconf.Rule) (*Routing, error) {
	to := &Routing{}
	for _, rule := range rules {
		if text := Remark(rule); text != "" {
			to.remarks = append(to.remarks, text)
		}
		if rule.Kind == syslogconf.Everybody {
			continue
		}
		rule.Path = rule.Place() // one output for each file
		to.Sender = to.Sender || rule.NeedsSender()
		to.Mark = to.Mark || rule.Sender
		if known := find(to.routes, rule.Place()); known != nil {
			known.Rules = append(known.Rules, rule)
			continue
		}
		out, err := r.outputOf(rule, to)
		if err != nil {
			for _, opened := range to.opened {
				opened.Close()
			}
			return nil, err
		}
		to.routes = append(to.routes, Route{out, []syslogconf.Rule{rule}})
	}
	return to, nil
}

// outputOf returns the output for a rule's messages: the one that is open, unless the rule
// needs another.
func (r *Router) outputOf(rule syslogconf.Rule, to *Routing) (output.Output, error) {
	known := r.Find(rule.Place())
	if known != nil && known.Rules[0].Kind == rule.Kind {
		if file, ok := Behind(known.Out).(*logfile.Guarded); ok && known.Rules[0].Rotation != rule.Rotation {
			to.rotated = append(to.rotated, rotated{file, logfile.Rotation(rule.Rotation)})
		}
		return known.Out, nil
	}
	out, problem, err := r.Open(rule, string(r.Host))
	if err != nil {
		out.Close()
		return nil, err
	}
	if problem != nil {
		to.problems = append(to.problems, kernelProblem{rule.Place(), problem})
	}
	to.opened = append(to.opened, out)
	return r.Meter(out, rule.Action), nil
}

// Use makes messages go there from now on. It closes outputs that no rule needs any more, and
// returns what Close says about them. An output that still has something to write stays open,
// without messages, until the next call.
func (r *Router) Use(to *Routing) (lost []string) {
	before := r.Routes
	r.Routes = to.routes
	for _, file := range to.rotated {
		file.file.SetRotation(file.rotation)
	}
	for i := range r.Routes {
		if m, ok := r.Routes[i].Out.(*MeteredOutput); ok && m.summary != nil {
			m.sumUp()
			m.summary = r.summary(r.Routes[i].Rules[0].Action)
		}
	}
	now := time.Now()
	for _, old := range before {
		if slices.ContainsFunc(r.Routes, func(now Route) bool { return now.Out == old.Out }) {
			continue
		}
		if m, ok := old.Out.(*MeteredOutput); ok {
			m.sumUp()
		}
		old.Out.Flush(now)
		if c := old.Out.Counts(); c.Pending+c.Untold > 0 && r.Find(old.Rules[0].Place()) == nil {
			nothing := syslogconf.Rule{Action: old.Rules[0].Action}
			r.Routes = append(r.Routes, Route{old.Out, []syslogconf.Rule{nothing}})
			continue
		}
		lost = append(lost, Close(old.Out))
	}
	return lost
}

// Same returns whether messages go where they went before.
func (r *Router) Same(to *Routing) bool {
	return slices.EqualFunc(r.Routes, to.routes, func(a, b Route) bool {
		return a.Out == b.Out && slices.EqualFunc(a.Rules, b.Rules, func(a, b syslogconf.Rule) bool { return a.String() == b.String() })
	})
}

// Remarks returns remarks about the rules that are in force now.
func (r *Router) Remarks(to *Routing) (texts []string) {
	for _, problem := range to.problems {
		texts = append(texts, problem.inWords(r.Find(problem.place).Rules))
	}
	return append(texts, to.remarks...)
}

// Remark returns the remark about a rule that is valid but does nothing; "" for other rules.
func Remark(rule syslogconf.Rule) string {
	switch {
	case rule.Kind == syslogconf.Everybody:
		return rule.Origin() + ": the users' terminals are not written to"
	case rule.SelectsNothing():
		return rule.Origin() + ": its selectors leave no message"
	}
	return ""
}

// keep opens an output without a rule, for what an earlier program left for it.
func (r *Router) keep(kind syslogconf.Kind, path string) {
	action := syslogconf.Action{Kind: kind, Path: path}
	rule := syslogconf.Rule{Action: action}   // a rule that selects nothing
	out, _, _ := r.Open(rule, string(r.Host)) // an output that cannot be opened tries again
	r.Routes = append(r.Routes, Route{r.Meter(out, action), []syslogconf.Rule{rule}})
}

// fileProblem reports a log file's problem.
func (r *Router) fileProblem(err error) {
	r.hangs = r.hangs || errors.Is(err, logfile.ErrHangs)
	r.Report(err)
}

// Open opens the output of a rule. A problem is one with which the other rules work. name is
// the host's name in the kernel's log.
func (r *Router) Open(rule syslogconf.Rule, name string) (out output.Output, problem, err error) {
	stream := sink.StreamOptions{Path: rule.Path, Notice: r.Notice, Wake: r.Wake, Init: r.Init, Problem: r.Report}
	if r.Below != nil {
		stream.Below = r.Below(rule.Path)
	}
	switch rule.Kind {
	case syslogconf.Kernel:
		held := -1
		if r.KernelLog != nil {
			held = r.KernelLog()
		}
		out, problem = sink.OpenKernel(rule.Path, name, held)
		return out, problem, nil
	case syslogconf.Journal, syslogconf.Syslog:
		return r.openRelay(rule.Action), nil, nil
	case syslogconf.FIFO:
		stream.Kind = sink.FIFO
	case syslogconf.Terminal:
		stream.Kind = sink.Terminal
	case syslogconf.Stdout:
		stream.Kind, stream.Path = sink.Stdout, ""
	case syslogconf.ContainerStdout:
		stream.Kind, stream.Path = sink.ContainerStdout, ""
	default:
		out, err = logfile.OpenGuarded(rule.Path, logfile.Options{
			Notice: r.Notice, Rotation: logfile.Rotation(rule.Rotation), Below: stream.Below, Later: !r.Creates,
		}, logfile.GuardOptions{Watchdog: r.Watchdog, Problem: r.fileProblem, As: r.As})
		if err != nil && r.tolerant {
			r.Report(err)
			err = nil
		}
		return out, nil, err
	}
	return sink.OpenStream(stream), nil, nil
}
