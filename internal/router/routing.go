package router

import (
	"slices"
	"time"

	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/sink"
	"devlog/internal/syslogconf"
)

// Routing is where messages go, by rules.
type Routing struct {
	Sender bool // who sent a message is asked for
	Mark   bool // and compared with what it claims

	routes   []Route
	opened   []output.Output // of these, those that were opened for it
	rotated  []rotated       // open files that are to be rotated otherwise
	problems []kernelProblem
	remarks  []string
}

// rotated is a file that is to be rotated otherwise.
type rotated struct {
	file     *logfile.Guarded
	rotation logfile.Rotation
}

// Prepare opens the outputs of the rules that are not open already. Nothing is changed
// by that, and with an error nothing stays open.
func (r *Router) Prepare(rules []syslogconf.Rule) (*Routing, error) {
	to := &Routing{}
	for _, rule := range rules {
		if text := Remark(rule); text != "" {
			to.remarks = append(to.remarks, text)
		}
		if rule.Kind == syslogconf.Everybody {
			continue
		}
		rule.Path = rule.Place() // one file, one output
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

// outputOf returns the output that a rule's messages go to: the one that is open,
// unless it does not suit the rule.
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

// Use has messages go there from now on, and returns what Close says of the outputs
// that no rule leads to any more. One that has something to write
// still is kept, without messages, up to the next time.
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

// Same reports whether messages go where they went before.
func (r *Router) Same(to *Routing) bool {
	return slices.EqualFunc(r.Routes, to.routes, func(a, b Route) bool {
		return a.Out == b.Out && slices.EqualFunc(a.Rules, b.Rules, func(a, b syslogconf.Rule) bool { return a.String() == b.String() })
	})
}

// Remarks are what is to be said of the rules that are in force now.
func (r *Router) Remarks(to *Routing) (texts []string) {
	for _, problem := range to.problems {
		texts = append(texts, problem.inWords(r.Find(problem.place).Rules))
	}
	return append(texts, to.remarks...)
}

// Remark is what is to be said of a rule that is right and does nothing; empty of any
// other.
func Remark(rule syslogconf.Rule) string {
	switch {
	case rule.Kind == syslogconf.Everybody:
		return rule.Origin() + ": the users' terminals are not written to"
	case rule.SelectsNothing():
		return rule.Origin() + ": its selectors leave no message"
	}
	return ""
}

// Keep opens an output that no rule leads to, for what another program has left for it.
func (r *Router) Keep(kind syslogconf.Kind, path string) {
	action := syslogconf.Action{Kind: kind, Path: path}
	rule := syslogconf.Rule{Action: action}   // it selects nothing
	out, _, _ := r.Open(rule, string(r.Host)) // what cannot be opened now is tried again
	r.Routes = append(r.Routes, Route{r.Meter(out, action), []syslogconf.Rule{rule}})
}

// Open opens the output of a rule. A problem is one that the other rules can go on
// with. name is what the kernel's log calls this host.
func (r *Router) Open(rule syslogconf.Rule, name string) (out output.Output, problem, err error) {
	stream := sink.StreamOptions{Path: rule.Path, Notice: r.Notice, Wake: r.Wake, Init: r.Init, Problem: r.Report}
	if r.Below != nil {
		stream.Below = r.Below(rule.Path)
	}
	switch rule.Kind {
	case syslogconf.Kernel:
		out, problem = sink.OpenKernel(rule.Path, name)
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
			Notice: r.Notice, Rotation: logfile.Rotation(rule.Rotation), Below: stream.Below,
		}, logfile.GuardOptions{Watchdog: r.Watchdog, Problem: func(err error) { r.hangs = true; r.Report(err) }, As: r.As})
		if err != nil && r.Tolerant {
			r.Report(err)
			err = nil
		}
		return out, nil, err
	}
	return sink.OpenStream(stream), nil, nil
}
