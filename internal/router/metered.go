package router

import (
	"bytes"
	"strconv"
	"time"

	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// repeatIntervals are the times after which repeats of one message are summed up. The last one
// applies as long as they go on. sysklogd uses the same.
var repeatIntervals = [...]time.Duration{30 * time.Second, 120 * time.Second, 600 * time.Second}

// maxRepeat is the size of the longest message that is checked for repeats, in bytes.
const maxRepeat = 8 << 10

// MeteredOutput counts the messages of an output and, if the rule says so, leaves out repeats.
// Each message is repeated, or counted by the output as written, pending or lost.
type MeteredOutput struct {
	output.Output
	Kind     syslogconf.Kind
	Added    uint64 // messages for the output, with those that sum up repeats
	Bytes    uint64 // in their lines
	Repeated uint64 // messages that were only counted
	High     int    // the most bytes that were pending after a flush

	// summary makes the message that sums up repeats; nil to write them all.
	summary  func(p syslog.Priority, text string) output.Message
	previous []byte // the last message's Body
	priority syslog.Priority
	sync     bool
	Repeats  uint64    // of previous that were not summed up yet
	since    time.Time // when previous was written, or last summed up
	interval int       // index in repeatIntervals
}

// Meter returns the output with a meter, which continues for an earlier program's.
func (r *Router) Meter(out output.Output, a syslogconf.Action) *MeteredOutput {
	m := &MeteredOutput{Output: out, Kind: a.Kind}
	if r.Compress {
		m.summary = r.summary(a)
	}
	r.resume(m)
	return m
}

// Behind returns the output without its meter.
func Behind(o output.Output) output.Output {
	if m, ok := o.(*MeteredOutput); ok {
		return m.Output
	}
	return o
}

// summary returns what makes the message that sums up repeats, in the action's format.
func (r *Router) summary(a syslogconf.Action) func(syslog.Priority, string) output.Message {
	return func(p syslog.Priority, text string) output.Message {
		var l lines // of its own: those of the current message are in use
		m := syslog.Message{Facility: syslog.Facility(p / 8), Severity: syslog.Severity(p % 8), Text: []byte(text)}
		l.now = time.Now()
		line, body := l.format(&a, &r.Options, &m)
		return output.Message{Priority: p, Line: line, Body: body}
	}
}

// Add adds a message.
func (t *MeteredOutput) Add(m output.Message) {
	t.Added++
	t.Bytes += uint64(len(m.Line))
	if t.summary == nil {
		t.Output.Add(m)
		return
	}
	now := time.Now()
	if len(m.Body) > 0 && m.Priority == t.priority && bytes.Equal(m.Body, t.previous) {
		t.Repeated++
		t.Repeats++
		t.sync = t.sync || m.Sync
		t.sumUpDue(now)
		return
	}
	t.sumUp()
	t.previous, t.priority = append(t.previous[:0], m.Body[:min(len(m.Body), maxRepeat)]...), m.Priority
	if len(m.Body) > maxRepeat {
		t.previous = t.previous[:0]
	}
	t.sync, t.since, t.interval = m.Sync, now, 0
	t.Output.Add(m)
}

// sumUp writes how often the last message was repeated.
func (t *MeteredOutput) sumUp() {
	if t.Repeats == 0 {
		return
	}
	m := t.summary(t.priority, "last message repeated "+strconv.FormatUint(t.Repeats, 10)+" times")
	m.Sync = t.sync
	t.Repeats = 0
	t.Added++
	t.Bytes += uint64(len(m.Line))
	t.Output.Add(m)
}

// sumUpDue calls sumUp if it is time.
func (t *MeteredOutput) sumUpDue(now time.Time) {
	if t.Repeats == 0 || now.Before(t.sumUpAt()) {
		return
	}
	t.sumUp()
	t.since, t.interval = now, min(t.interval+1, len(repeatIntervals)-1)
}

func (t *MeteredOutput) sumUpAt() time.Time { return t.since.Add(repeatIntervals[t.interval]) }

// Flush sums up what is due, and writes.
func (t *MeteredOutput) Flush(now time.Time) {
	t.sumUpDue(now)
	t.Output.Flush(now)
	if l, ok := t.Output.(output.Lasting); ok {
		t.High = max(t.High, l.Buffered())
	}
}

// Next returns when to call Flush if nothing is added before.
func (t *MeteredOutput) Next() time.Time {
	next := t.Output.Next()
	if t.Repeats > 0 && (next.IsZero() || t.sumUpAt().Before(next)) {
		return t.sumUpAt()
	}
	return next
}

// Reopen sums up repeats and opens the path again.
func (t *MeteredOutput) Reopen(now time.Time) {
	t.sumUp()
	t.Output.Reopen(now)
}

// SumUp sums up all repeats: no more messages follow.
func (r *Router) SumUp() {
	for _, route := range r.Routes {
		if m, ok := route.Out.(*MeteredOutput); ok {
			m.sumUp()
		}
	}
}
