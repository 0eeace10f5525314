package router

import (
	"bytes"
	"strconv"
	"time"

	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// repeatIntervals are the times after which repeats of one message are summed
// up, the last one for as long as they go on; sysklogd's are the same.
var repeatIntervals = [...]time.Duration{30 * time.Second, 120 * time.Second, 600 * time.Second}

// maxRepeat is the size in bytes of the longest message that is looked at for
// repeats.
const maxRepeat = 8 << 10

// MeteredOutput is in front of an output: it counts what goes there, and leaves repeats
// out if it is to. Each message taken is repeated, or written, pending or lost
// as the output counts it.
type MeteredOutput struct {
	output.Output
	Kind     syslogconf.Kind
	Taken    uint64 // messages for the output, with those that sum repeats up
	Bytes    uint64 // of their lines
	Repeated uint64 // of these, those that were only counted
	High     int    // the most bytes that were pending after a flush

	// summary makes the message that sums repeats up; nil to write them all.
	summary  func(p syslog.Priority, text string) output.Message
	previous []byte // the last message's body
	priority syslog.Priority
	sync     bool
	Repeats  uint64    // of it that were not summed up yet
	since    time.Time // when it was written, or last summed up
	interval int       // in repeatIntervals
}

// Meter puts a meter in front of the output, which goes on where another program's was.
func (r *Router) Meter(out output.Output, a syslogconf.Action) *MeteredOutput {
	m := &MeteredOutput{Output: out, Kind: a.Kind}
	if r.Compress {
		m.summary = r.summary(a)
	}
	if r.Resume != nil {
		r.Resume(m)
	}
	return m
}

// Behind returns the output behind its meter.
func Behind(o output.Output) output.Output {
	if m, ok := o.(*MeteredOutput); ok {
		return m.Output
	}
	return o
}

// summary makes the message that sums repeats up, as the action wants it.
func (r *Router) summary(a syslogconf.Action) func(syslog.Priority, string) output.Message {
	return func(p syslog.Priority, text string) output.Message {
		var l lines // its own: those of a message are in use
		m := syslog.Message{Facility: syslog.Facility(p / 8), Severity: syslog.Severity(p % 8), Text: []byte(text)}
		l.now = time.Now()
		line, body := l.format(&a, &r.Options, &m)
		return output.Message{Priority: p, Line: line, Body: body}
	}
}

// Add takes one message.
func (t *MeteredOutput) Add(m output.Message) {
	t.Taken++
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
	t.Taken++
	t.Bytes += uint64(len(m.Line))
	t.Output.Add(m)
}

// sumUpDue is sumUp if it is time to.
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

// Next is when Flush should be called although nothing was added.
func (t *MeteredOutput) Next() time.Time {
	next := t.Output.Next()
	if t.Repeats > 0 && (next.IsZero() || t.sumUpAt().Before(next)) {
		return t.sumUpAt()
	}
	return next
}

// Reopen opens the path again, with what repeated itself summed up before.
func (t *MeteredOutput) Reopen(now time.Time) {
	t.sumUp()
	t.Output.Reopen(now)
}

// SumUp sums up all repeats, for there is an end of messages.
func (r *Router) SumUp() {
	for _, route := range r.Routes {
		if m, ok := route.Out.(*MeteredOutput); ok {
			m.sumUp()
		}
	}
}
