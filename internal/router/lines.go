package router

import (
	"time"

	"devlog/internal/journal"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// maxLine is the size in bytes above which a line buffer is not kept.
const maxLine = 64 << 10

// lines makes lines of messages, one for each layout that is asked for.
type lines struct {
	now     time.Time
	stamp   syslog.Stamp
	precise syslog.PreciseStamp

	made [variants]line
	done uint8 // a bit for each that is made of this message
}

// The ways in which a message is written: the layouts, and these.
const (
	marked        = syslog.NumLayouts + iota // RFC 3164 with the mark for senders that differ
	withContainer                            // RFC 5424 with the container's data
	journalEntry                             // an entry of the journal

	variants = syslog.NumLayouts + iota
)

// variantOf is the way in which the action wants its messages.
func variantOf(a *syslogconf.Action) int {
	switch {
	case a.Kind == syslogconf.Journal:
		return journalEntry
	case a.Kind == syslogconf.Syslog && a.Format == syslog.RFC5424:
		return withContainer
	case a.Sender && a.Format == syslog.RFC3164:
		return marked
	}
	return int(a.Format)
}

// line is a message's line in one layout.
type line struct {
	buffer []byte
	body   int // offset of the part without time
}

// begin begins another message.
func (l *lines) begin() { l.done = 0 }

// format returns the message as the action wants it, with the newline, and the
// part of it behind the time and, in RFC 3164, the host, without the newline: of
// repeats that is the same. Both are valid until the next message.
func (l *lines) format(a *syslogconf.Action, o *Options, m *syslog.Message) (text, body []byte) {
	variant := variantOf(a)
	made := &l.made[variant]
	if l.done&(1<<variant) == 0 {
		l.done |= 1 << variant
		switch variant {
		case journalEntry:
			made.buffer, made.body = journal.AppendMessage(made.buffer[:0], l.stamp.Bytes(l.now), m)
			made.buffer = append(made.buffer, o.Container.Fields...)
		case int(syslog.RFC5424), withContainer:
			var container []byte
			if variant == withContainer {
				container = o.Container.Data
			}
			stamp := l.precise.Bytes(l.now)
			made.buffer, made.body = syslog.AppendRFC5424(made.buffer[:0], stamp, o.Host, container, m), len(stamp)
		case int(syslog.JSON):
			stamp := l.precise.Bytes(l.now)
			made.buffer, made.body = syslog.AppendJSON(made.buffer[:0], stamp, o.Host, m), len(`{"timestamp":"`)+len(stamp)
		default:
			differs := m.Sender.Differs
			m.Sender.Differs = differs && a.Sender
			made.buffer, made.body = syslog.AppendRFC3164(made.buffer[:0], l.stamp.Bytes(l.now), o.Host, m)
			m.Sender.Differs = differs
		}
	}
	return made.buffer, made.buffer[made.body : len(made.buffer)-1]
}

// release gives memory back that long messages have taken.
func (l *lines) release() {
	for i := range l.made {
		if cap(l.made[i].buffer) > maxLine {
			l.made[i].buffer = nil
		}
	}
}
