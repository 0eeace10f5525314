package receiver

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

// tap is in front of an output: it counts what goes there, and leaves repeats
// out if it is to. Each message taken is repeated, or written, pending or lost
// as the output counts it.
type tap struct {
	output.Output
	kind     syslogconf.Kind
	taken    uint64 // messages for the output, with those that sum repeats up
	bytes    uint64 // of their lines
	repeated uint64 // of these, those that were only counted
	high     int    // the most bytes that were pending after a flush

	// summary makes the message that sums repeats up; nil to write them all.
	summary  func(p syslog.Priority, text string) output.Message
	previous []byte // the last message's body
	priority syslog.Priority
	sync     bool
	repeats  uint64    // of it that were not summed up yet
	since    time.Time // when it was written, or last summed up
	interval int       // in repeatIntervals
}

// newTap puts a tap in front of the output.
func (r *receiver) newTap(out output.Output, a syslogconf.Action) *tap {
	t := &tap{Output: out, kind: a.Kind}
	if r.compress {
		t.summary = r.summary(a)
	}
	return t
}

// behind returns the output behind its tap.
func behind(o output.Output) output.Output {
	if t, ok := o.(*tap); ok {
		return t.Output
	}
	return o
}

// summary makes the message that sums repeats up, as the action wants it.
func (r *receiver) summary(a syslogconf.Action) func(syslog.Priority, string) output.Message {
	return func(p syslog.Priority, text string) output.Message {
		var l lines // its own: those of a message are in use
		m := syslog.Message{Facility: syslog.Facility(p / 8), Severity: syslog.Severity(p % 8), Text: []byte(text)}
		l.at(time.Now())
		line, body := l.format(&a, r.host, &m)
		return output.Message{Priority: p, Line: line, Body: body}
	}
}

// Add takes one message.
func (t *tap) Add(m output.Message) {
	t.taken++
	t.bytes += uint64(len(m.Line))
	if t.summary == nil {
		t.Output.Add(m)
		return
	}
	now := time.Now()
	if len(m.Body) > 0 && m.Priority == t.priority && bytes.Equal(m.Body, t.previous) {
		t.repeated++
		t.repeats++
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
func (t *tap) sumUp() {
	if t.repeats == 0 {
		return
	}
	m := t.summary(t.priority, "last message repeated "+strconv.FormatUint(t.repeats, 10)+" times")
	m.Sync = t.sync
	t.repeats = 0
	t.taken++
	t.bytes += uint64(len(m.Line))
	t.Output.Add(m)
}

// sumUpDue is sumUp if it is time to.
func (t *tap) sumUpDue(now time.Time) {
	if t.repeats == 0 || now.Before(t.sumUpAt()) {
		return
	}
	t.sumUp()
	t.since, t.interval = now, min(t.interval+1, len(repeatIntervals)-1)
}

func (t *tap) sumUpAt() time.Time { return t.since.Add(repeatIntervals[t.interval]) }

// Flush sums up what is due, and writes.
func (t *tap) Flush(now time.Time) {
	t.sumUpDue(now)
	t.Output.Flush(now)
	if l, ok := t.Output.(output.Lasting); ok {
		t.high = max(t.high, l.Buffered())
	}
}

// Next is when Flush should be called although nothing was added.
func (t *tap) Next() time.Time {
	next := t.Output.Next()
	if t.repeats > 0 && (next.IsZero() || t.sumUpAt().Before(next)) {
		return t.sumUpAt()
	}
	return next
}

// Reopen opens the path anew, with what repeated itself summed up before.
func (t *tap) Reopen(now time.Time) {
	t.sumUp()
	t.Output.Reopen(now)
}

// sumUp sums up all repeats, for there is an end of messages.
func (r *receiver) sumUp() {
	for _, route := range r.routes {
		if t, ok := route.out.(*tap); ok {
			t.sumUp()
		}
	}
}
