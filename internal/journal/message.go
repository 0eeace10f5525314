package journal

import (
	"bytes"
	"strconv"

	"devlog/internal/syslog"
)

const (
	// keptFields is how many further fields a message keeps.
	keptFields = 64
	// maxKept is how many bytes its text may have, and its further fields.
	maxKept = 64 << 10
	// maxTag is how long its tag may be.
	maxTag = 256
)

// reserved returns whether a field of that name would say whose entry it is: to people, to
// journald, which trusts root's OBJECT_PID, to "journalctl --unit" and "--user-unit", which trust
// root's COREDUMP_UNIT and USER_UNIT, or to podman, whose events are root's entries with PODMAN_EVENT.
func reserved(name []byte) bool {
	for _, prefix := range []string{"CONTAINER_", "OBJECT_", "COREDUMP_", "USER_", "PODMAN_", "SENDER_", "SYSLOG_"} {
		if bytes.HasPrefix(name, []byte(prefix)) {
			return true
		}
	}
	return false
}

// Reader makes messages of entries.
type Reader struct {
	m      syslog.Message
	fields []syslog.Field
	size   int // of these
	some   bool
}

// Read calls take for each entry of a datagram. The message is valid during the call. The
// error means that an entry is not valid; take was called for those before it.
func (r *Reader) Read(datagram []byte, take func(m *syslog.Message)) error {
	r.begin()
	return Parse(datagram, r.field, func() {
		if r.some {
			r.m.Fields = r.fields
			take(&r.m)
		}
		r.begin()
	})
}

func (r *Reader) begin() {
	r.m = syslog.Message{Facility: syslog.User, Severity: syslog.Info}
	r.fields, r.size, r.some = r.fields[:0], 0, false
}

func (r *Reader) field(name, value []byte) {
	r.some = true
	switch string(name) {
	case "MESSAGE":
		r.m.Text = r.cut(value, maxKept)
	case "PRIORITY":
		if n, ok := number(value, 7); ok {
			r.m.Severity = syslog.Severity(n)
		}
	case "SYSLOG_FACILITY":
		if n, ok := number(value, syslog.NumFacilities-1); ok && n > 0 { // kern is the kernel's own
			r.m.Facility = syslog.Facility(n)
		}
	case "SYSLOG_IDENTIFIER":
		r.m.Tag = r.cut(value, maxTag)
	case "SYSLOG_PID":
		if _, ok := number(value, 1<<31-1); ok {
			r.m.PID = value
		}
	default:
		if r.size += len(name) + len(value); len(r.fields) == keptFields || r.size > maxKept {
			r.m.Cut = true
			return
		}
		r.fields = append(r.fields, syslog.Field{Name: name, Value: value})
	}
}

// cut returns the value, or its beginning if it is too long.
func (r *Reader) cut(value []byte, most int) []byte {
	if len(value) > most {
		r.m.Cut = true
		return value[:most]
	}
	return value
}

// number reads a number up to most.
func number(text []byte, most uint64) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(text), 10, 32)
	return n, err == nil && n <= most
}

// Stdout is what a client says when it connects its standard output: lines follow.
type Stdout struct {
	Identifier []byte
	Priority   syslog.Priority
	Prefix     bool // lines may begin with <PRIORITY>
}

// stdoutLines is how many lines that are, and maxStdout how long they may be.
const stdoutLines, maxStdout = 7, 4 << 10

// ReadStdout reads what a client says first (stdout_stream_line in
// src/journal/journald-stream.c): identifier, unit, priority, whether lines have prefixes, and
// three numbers. size is 0 if it has not said all, and -1 if it is wrong.
func ReadStdout(data []byte) (s Stdout, size int) {
	for line := range stdoutLines {
		end := bytes.IndexByte(data[size:], '\n')
		if end < 0 || size+end >= maxStdout {
			if len(data) >= maxStdout {
				return s, -1
			}
			return s, 0
		}
		text := data[size : size+end]
		size += end + 1
		switch line {
		case 0:
			s.Identifier = text[:min(len(text), maxTag)]
		case 2:
			n, ok := number(text, 191)
			if !ok {
				return s, -1
			}
			s.Priority = syslog.Priority(n)
		case 3:
			s.Prefix = string(text) == "1"
		}
	}
	return s, size
}

// Message returns the message of a line.
func (s *Stdout) Message(line []byte) syslog.Message {
	m := syslog.Message{Facility: syslog.Facility(s.Priority >> 3), Severity: syslog.Severity(s.Priority & 7), Tag: s.Identifier, Text: line}
	if m.Facility == syslog.Kern {
		m.Facility = syslog.User
	}
	if s.Prefix && len(line) >= 3 && line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>' {
		m.Severity, m.Text = syslog.Severity(line[1]-'0'), line[3:]
	}
	return m
}
