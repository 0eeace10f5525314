// Package router owns the way from rules to outputs: which outputs are open, the lines that
// messages become, and what happened to them.
package router

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/internal/handover"
	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/relay"
	"devlog/internal/sink"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watchdog"
)

const (
	// readerTime is how long an ending receiver waits for the readers of streams: others wait
	// for its end.
	readerTime = time.Second
	// readerPoll is how often it checks whether they read.
	readerPoll = 10 * time.Millisecond
)

// Route is an output and its rules.
type Route struct {
	Out   output.Output
	Rules []syslogconf.Rule // the first rule's format is used for all
}

// Options are the options of a Router.
type Options struct {
	Host []byte // the host's name in lines
	// Container is how the host's daemons know the container.
	Container Container
	PID       []byte // of this process, in decimal
	Compress  bool   // leave out repeats
	Watchdog  *watchdog.Watchdog
	// Below returns the directory below which no links are followed on that path.
	Below func(path string) string
	// Wake makes the loop call Flush when an output's descriptor is writable.
	Wake func(fd int)
	// Init returns the pidfd of the container's first process; see sink.StreamOptions.
	Init func() int
	// KernelLog returns the open kernel's log, -1 to open it; nil for always -1.
	KernelLog func() int
}

// Router writes messages to outputs. One goroutine uses it.
type Router struct {
	Options
	Routes []Route
	// As opens files with the right privileges; nil if those are the program's.
	As func(open func() error) error
	// Creates makes new log files at once. Otherwise the first message does.
	Creates bool

	left     []*handover.Output // by another program, for outputs that are not open yet
	tolerant bool               // a file that cannot be opened is no error: see Resume
	lines    lines
	problems []error // problems of outputs to report
	hangs    bool    // a call for a file has not returned
}

// At sets the time of the messages that follow.
func (r *Router) At(now time.Time) { r.lines.now = now }

// Now returns the time of the messages that follow.
func (r *Router) Now() time.Time { return r.lines.now }

// ForgetZone makes later times use the current time zone.
func (r *Router) ForgetZone() { r.lines.stamp, r.lines.precise = syslog.Stamp{}, syslog.PreciseStamp{} }

// Pass adds a message to every output that has a rule for it, and returns whether one has. It
// formats the message once for each layout.
func (r *Router) Pass(m *syslog.Message) bool {
	r.lines.begin()
	passed := false
	for i := range r.Routes {
		hit, sync := false, false
		for j := range r.Routes[i].Rules {
			rule := &r.Routes[i].Rules[j]
			if rule.Match(m, r.Host) {
				hit, sync = true, sync || rule.Sync
			}
		}
		if !hit || m.Kernel && r.Routes[i].Rules[0].Kind == syslogconf.Kernel {
			continue // messages from the kernel's log do not go back there
		}
		passed = true
		line, body := r.lines.format(&r.Routes[i].Rules[0].Action, &r.Options, m)
		r.Routes[i].Out.Add(output.Message{Priority: syslog.MakePriority(m.Facility, m.Severity.OnHost()), Line: line, Body: body, Sync: sync})
	}
	return passed
}

// Own returns a message from this program.
func (r *Router) Own(s syslog.Severity, text string) syslog.Message {
	return syslog.Message{Facility: syslog.Syslog, Severity: s, Tag: []byte(ownTag), PID: r.PID, Text: []byte(text)}
}

// Notice is an output.Notice. Any goroutine may call it.
func (r *Router) Notice(dst []byte, text string) []byte {
	m := syslog.Message{Tag: []byte(ownTag), PID: r.PID, Text: []byte(text)}
	var stamp syslog.Stamp
	dst, _ = syslog.AppendRFC3164(dst, stamp.Bytes(time.Now()), r.Host, &m)
	return dst
}

// Flush writes the messages.
func (r *Router) Flush(now time.Time) {
	for _, route := range r.Routes {
		route.Out.Flush(now)
	}
	r.lines.release()
}

// Next returns when to call Flush if no message comes before; the zero time for never.
func (r *Router) Next() (next time.Time) {
	for _, route := range r.Routes {
		if t := route.Out.Next(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Busy returns until when senders should wait for an output that is slower than they are;
// zero if they need not.
func (r *Router) Busy(now time.Time) (until time.Time) {
	for i := range r.Routes {
		if to, ok := Behind(r.Routes[i].Out).(*relay.Relay); ok {
			if t := to.Busy(now); t.After(until) {
				until = t
			}
		}
	}
	return until
}

// PendingUntil returns when to try again to write what is pending. It returns the zero time if
// nothing is pending, or only for readers that have not read for readerTime since begin.
func (r *Router) PendingUntil(begin, now time.Time) (next time.Time) {
	for _, route := range r.Routes {
		if route.Out.Counts().Pending == 0 {
			continue
		}
		t := route.Out.Next()
		if _, ok := Behind(route.Out).(*relay.Relay); ok && t.IsZero() { // its daemon does not receive now
			t = now.Add(readerPoll)
		}
		if stream, ok := Behind(route.Out).(*sink.Stream); ok {
			if !stream.Waits() || now.Sub(begin) >= readerTime {
				continue
			}
			t = now.Add(readerPoll)
		}
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// Reopen opens all outputs again.
func (r *Router) Reopen(now time.Time) {
	for _, route := range r.Routes {
		route.Out.Reopen(now)
	}
}

// Report adds a problem to report.
func (r *Router) Report(problem error) { r.problems = append(r.problems, problem) }

// Problem removes and returns the next problem to report; nil for none.
func (r *Router) Problem() (problem error) {
	if len(r.problems) == 0 {
		return nil
	}
	problem, r.problems = r.problems[0], r.problems[1:]
	return problem
}

// Written returns how many messages the outputs have written.
func (r *Router) Written() (n uint64) {
	for _, route := range r.Routes {
		n += route.Out.Counts().Written
	}
	return n
}

// Find returns the route of the output with that place, or nil.
func (r *Router) Find(place string) *Route { return find(r.Routes, place) }

func find(routes []Route, place string) *Route {
	for i := range routes {
		if routes[i].Rules[0].Place() == place {
			return &routes[i]
		}
	}
	return nil
}

// Has returns whether a rule leads to an output of that kind.
func (r *Router) Has(kind syslogconf.Kind) bool {
	return slices.ContainsFunc(r.Routes, func(to Route) bool { return to.Rules[0].Kind == kind })
}

// Hangs returns whether a call for a file hung a moment ago. Then Hung says which.
func (r *Router) Hangs() bool {
	if r.hangs {
		r.hangs = r.Hung() != nil
		return true
	}
	return false
}

// Hung returns an error about the log file whose file system does not answer, or nil.
func (r *Router) Hung() error {
	for _, route := range r.Routes {
		if file, ok := Behind(route.Out).(*logfile.Guarded); ok && file.Hangs() {
			return fmt.Errorf("the file system of %s does not answer; hint: try again when it does", file.Name())
		}
	}
	return nil
}

// Close closes an output. It returns text about losses that the output cannot report any more:
// pending messages, those that nobody has read, and those without a notice. The text is empty
// if there are none.
func Close(out output.Output) (text string) {
	before := out.Counts()
	before.Lost = slices.Clone(before.Lost) // Close continues to count there
	out.Close()
	after := out.Counts()
	n, why := before.Untold, ""
	for i, l := range after.Lost {
		if i < len(before.Lost) {
			l.N -= before.Lost[i].N
		}
		if n += l.N; l.N > 0 || why == "" {
			why = l.Reason
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d messages lost at the end: %s: %s", n, out.Name(), why)
}

// kernelProblem is why the kernel's log at the place cannot be written.
type kernelProblem struct {
	place string
	err   error
}

// inWords describes the problem, and what it means for the rules.
func (p kernelProblem) inWords(rules []syslogconf.Rule) string {
	var texts []string
	for _, rule := range rules {
		texts = append(texts, strconv.Quote(rule.String()))
	}
	return fmt.Sprintf("the kernel's log cannot be written here (%v): only what %s sends there is counted as lost", p.err, strings.Join(texts, ", "))
}
