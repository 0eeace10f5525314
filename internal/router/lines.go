package router

import (
	"time"

	"devlog/internal/journal"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// maxLine is the largest buffer for a line that is kept, in bytes.
const maxLine = 64 << 10

// lines formats messages as lines, once for each layout.
type lines struct {
	now     time.Time
	stamp   syslog.Stamp
	precise syslog.PreciseStamp

	made [variants]line
	done uint8 // a bit for each layout that has this message's line
}

// The variants of a line: the layouts, and these.
const (
	marked        = syslog.NumLayouts + iota // RFC 3164 with the mark for a false process ID
	toDaemon                                 // RFC 3164 for the host's syslog daemon
	markedTo                                 // the same with that mark
	withContainer                            // RFC 5424 for it, with the container's data
	journalEntry                             // an entry of the journal

	variants = syslog.NumLayouts + iota
)

// variantOf returns the variant that the action needs.
func variantOf(a *syslogconf.Action) int {
	switch {
	case a.Kind == syslogconf.Journal:
		return journalEntry
	case a.Kind == syslogconf.Syslog && a.Format == syslog.RFC5424:
		return withContainer
	case a.Kind == syslogconf.Syslog && a.Sender:
		return markedTo
	case a.Kind == syslogconf.Syslog:
		return toDaemon
	case a.Sender && a.Format == syslog.RFC3164:
		return marked
	}
	return int(a.Format)
}

// line is a message's line in one variant.
type line struct {
	buffer []byte
	body   int // offset of what follows the time
}

// begin begins the next message.
func (l *lines) begin() { l.done = 0 }

// format returns the message's line for the action, with the newline. body is its part after
// the time and, in RFC 3164, after the host, without the newline: it is the same for repeats.
// Both are valid until the next message.
func (l *lines) format(a *syslogconf.Action, o *Options, m *syslog.Message) (text, body []byte) {
	variant := variantOf(a)
	made := &l.made[variant]
	if l.done&(1<<variant) == 0 {
		l.done |= 1 << variant
		host := o.Host
		if a.Kind == syslogconf.Syslog {
			host = o.Container.Host
		}
		switch variant {
		case journalEntry:
			made.buffer, made.body = journal.AppendMessage(made.buffer[:0], l.stamp.Bytes(l.now), m)
			o.Container.identify()
			made.buffer = append(made.buffer, o.Container.fields...)
		case int(syslog.RFC5424), withContainer:
			var container []byte
			if variant == withContainer {
				o.Container.identify()
				container = o.Container.data
			}
			stamp := l.precise.Bytes(l.now)
			made.buffer, made.body = syslog.AppendRFC5424(made.buffer[:0], stamp, host, container, m), len(stamp)
		case int(syslog.JSON):
			stamp := l.precise.Bytes(l.now)
			made.buffer, made.body = syslog.AppendJSON(made.buffer[:0], stamp, o.Host, m), len(`{"timestamp":"`)+len(stamp)
		default:
			differs := m.Sender.Differs
			m.Sender.Differs = differs && a.Sender
			made.buffer, made.body = syslog.AppendRFC3164(made.buffer[:0], l.stamp.Bytes(l.now), host, m)
			m.Sender.Differs = differs
		}
	}
	return made.buffer, made.buffer[made.body : len(made.buffer)-1]
}

// release frees memory that long messages needed.
func (l *lines) release() {
	for i := range l.made {
		if cap(l.made[i].buffer) > maxLine {
			l.made[i].buffer = nil
		}
	}
}
