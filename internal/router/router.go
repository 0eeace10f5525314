// Package router owns the way from rules to outputs: which outputs are open, the lines that
// are made of a message, and what became of them.
package router

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/relay"
	"devlog/internal/sink"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watchdog"
)

const (
	// readerTime is how long an ending receiver waits for the readers of streams:
	// whoever waits for its end must not wait for them.
	readerTime = time.Second
	// readerPoll is how often it looks whether they take more.
	readerPoll = 10 * time.Millisecond
)

// Route is an output with the rules that lead to it.
type Route struct {
	Out   output.Output
	Rules []syslogconf.Rule // the format of the first is that of all
}

// Options are what a router needs of the program around it.
type Options struct {
	Host []byte // what this host is called in lines
	// Container is what the host's daemons are told of the container.
	Container Identity
	PID       []byte // of this process, in decimal
	Compress  bool   // repeats are left out
	Watchdog  *watchdog.Watchdog
	// Below is the directory from which on no link is followed to that path.
	Below func(path string) string
	// Wake has Flush called when an output's descriptor can be written to.
	Wake func(fd int)
	// Init is the pidfd of the container's first process; see sink.StreamOptions.
	Init func() int
	// Resume has an output that was just opened go on where another program's was.
	Resume func(m *MeteredOutput)
}

// Router passes messages to outputs. One goroutine uses it.
type Router struct {
	Options
	Routes []Route
	// As opens files with the rights that they are to be opened with; nil if those are
	// the program's.
	As func(open func() error) error
	// Tolerant says that a file which cannot be opened is no error: it could a moment ago.
	Tolerant bool

	lines    lines
	problems []error // of outputs, to be said
	hangs    bool    // a call for a file has not returned
}

// At sets the time of the messages that follow.
func (r *Router) At(now time.Time) { r.lines.now = now }

// Now is the time of the messages that follow.
func (r *Router) Now() time.Time { return r.lines.now }

// ForgetZone has times be made for the time zone that holds now.
func (r *Router) ForgetZone() { r.lines.stamp, r.lines.precise = syslog.Stamp{}, syslog.PreciseStamp{} }

// Pass adds a message to every output with a rule for it, and reports whether there
// is one. The message is formatted once for each layout.
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
			continue // what comes from the kernel's log is there
		}
		passed = true
		line, body := r.lines.format(&r.Routes[i].Rules[0].Action, &r.Options, m)
		r.Routes[i].Out.Add(output.Message{Priority: m.Priority(), Line: line, Body: body, Sync: sync})
	}
	return passed
}

// Own is a message of this program's.
func (r *Router) Own(s syslog.Severity, text string) syslog.Message {
	return syslog.Message{Facility: syslog.Syslog, Severity: s, Tag: []byte(ownTag), PID: r.PID, Text: []byte(text)}
}

// Notice is output.Notice. Any goroutine may call it.
func (r *Router) Notice(dst []byte, text string) []byte {
	m := syslog.Message{Tag: []byte(ownTag), PID: r.PID, Text: []byte(text)}
	var stamp syslog.Stamp
	dst, _ = syslog.AppendRFC3164(dst, stamp.Bytes(time.Now()), r.Host, &m)
	return dst
}

// Flush writes what was passed.
func (r *Router) Flush(now time.Time) {
	for _, route := range r.Routes {
		route.Out.Flush(now)
	}
	r.lines.release()
}

// Next is when Flush should be called although nothing was passed; the zero time is never.
func (r *Router) Next() (next time.Time) {
	for _, route := range r.Routes {
		if t := route.Out.Next(); !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// PendingUntil is when the next attempt is to be made to write what is pending; the
// zero time when nothing is, or only for readers that had their time since the begin
// of the end.
func (r *Router) PendingUntil(begin, now time.Time) (next time.Time) {
	for _, route := range r.Routes {
		if route.Out.Counts().Pending == 0 {
			continue
		}
		t := route.Out.Next()
		if _, ok := Behind(route.Out).(*relay.Relay); ok && t.IsZero() { // its daemon takes nothing now
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

// Report adds a problem, to be said with those that outputs find.
func (r *Router) Report(problem error) { r.problems = append(r.problems, problem) }

// Problem takes out the next problem that is to be said; nil if nothing is left to say.
func (r *Router) Problem() (problem error) {
	if len(r.problems) == 0 {
		return nil
	}
	problem, r.problems = r.problems[0], r.problems[1:]
	return problem
}

// Written is how many messages the outputs have written.
func (r *Router) Written() (n uint64) {
	for _, route := range r.Routes {
		n += route.Out.Counts().Written
	}
	return n
}

// Find returns the route of the output at the place, or nil.
func (r *Router) Find(place string) *Route { return find(r.Routes, place) }

func find(routes []Route, place string) *Route {
	for i := range routes {
		if routes[i].Rules[0].Place() == place {
			return &routes[i]
		}
	}
	return nil
}

// Has reports whether a rule leads to an output of that kind.
func (r *Router) Has(kind syslogconf.Kind) bool {
	return slices.ContainsFunc(r.Routes, func(to Route) bool { return to.Rules[0].Kind == kind })
}

// Hangs reports whether a call for a file hung a moment ago. Then hung says which does.
func (r *Router) Hangs() bool {
	if r.hangs {
		r.hangs = r.Hung() != nil
		return true
	}
	return false
}

// Hung is an error that says which log file's file system does not answer, or nil.
func (r *Router) Hung() error {
	for _, route := range r.Routes {
		if file, ok := Behind(route.Out).(*logfile.Guarded); ok && file.Hangs() {
			return fmt.Errorf("the file system of %s does not answer: try again when it does", file.Name())
		}
	}
	return nil
}

// Close closes an output, and says what is lost that it can tell of no more: what was
// pending, what nobody has read, and what it was to tell of. The text is empty if that
// is nothing.
func Close(out output.Output) (text string) {
	before := out.Counts()
	before.Lost = slices.Clone(before.Lost) // they are counted further there
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

// inWords says so, and what that means for the rules that lead there.
func (p kernelProblem) inWords(rules []syslogconf.Rule) string {
	var texts []string
	for _, rule := range rules {
		texts = append(texts, strconv.Quote(rule.String()))
	}
	return fmt.Sprintf("the kernel's log cannot be written here (%v): only what %s sends there is counted as lost", p.err, strings.Join(texts, ", "))
}
