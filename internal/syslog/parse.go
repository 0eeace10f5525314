package syslog

import (
	"bytes"
	"strconv"
)

// Message is a received message. Its slices are parts of what was received
// and are valid only as long as that is.
type Message struct {
	Facility Facility
	Severity Severity
	Tag      []byte // who sent it; empty when it does not say
	PID      []byte // the sender's process ID as it wrote it; may be empty
	MsgID    []byte // RFC 5424's MSGID; empty when there is none
	SD       []byte // RFC 5424's structured data; empty when there is none
	Text     []byte // the rest
	Cut      bool   // there was more than Text
	Sender   Sender // who sent it
	Kernel   bool   // it was read from the kernel's log
}

// Sender is who sent a message, as the kernel knows it (SCM_CREDENTIALS in
// unix(7)). The zero value is that this is not known.
type Sender struct {
	Known    bool
	PID      int32 // in the receiver's PID namespace; 0 if it is not seen there
	UID, GID uint32
	// Differs is that the message names another process as its sender.
	Differs bool
}

// append appends the three numbers with these texts in front and behind.
func (s *Sender) append(dst []byte, pid, uid, gid, end string) []byte {
	dst = strconv.AppendInt(append(dst, pid...), int64(s.PID), 10)
	dst = strconv.AppendUint(append(dst, uid...), uint64(s.UID), 10)
	dst = strconv.AppendUint(append(dst, gid...), uint64(s.GID), 10)
	return append(dst, end...)
}

// Priority returns the message's facility and severity in one.
func (m *Message) Priority() Priority { return MakePriority(m.Facility, m.Severity) }

// stampLen is the length of "Mmm dd hh:mm:ss".
const stampLen = 15

// Parse reads one datagram into m. It knows what syslog(3) of the C libraries
// sends (RFC 3164 without a host name), with or without PRI, time (also as in
// RFC 3339) or tag, and RFC 5424. The time that a client claims is left out, for
// it can claim any, and so is a host name: one of hosts before a tag, or any
// behind a time and before a tag with a process ID. Everything else that is not
// understood is left in Text, so nothing is lost and nothing can fail. Without a
// valid PRI a message is user.notice; kern is the kernel's own and becomes user
// (as in syslog(3)).
func Parse(raw []byte, m *Message, hosts ...[]byte) {
	*m = Message{Facility: User, Severity: Notice}
	// C clients may send the terminating NUL, others a newline, or both.
	for len(raw) > 0 && (raw[len(raw)-1] == 0 || raw[len(raw)-1] == '\n') {
		raw = raw[:len(raw)-1]
	}
	rest, pri, ok := cutPRI(raw)
	if ok {
		m.Facility, m.Severity = Facility(pri>>3), Severity(pri&7)
		if m.Facility == Kern {
			m.Facility = User
		}
		if parse5424(rest, m) {
			return
		}
	} else if len(raw) > 0 && raw[0] == '<' {
		m.Text = raw
		return
	}
	rest, timed := cutStamp(rest)
	m.Tag, m.PID, m.Text = cutTag(rest)
	if timed && m.Tag == nil {
		m.cutHost(hosts)
	}
}

// cutHost takes "HOST " off the front of the text if a tag follows.
func (m *Message) cutHost(hosts [][]byte) {
	end := wordEnd(m.Text, ' ', ' ')
	if end == 0 || end == len(m.Text) || m.Text[end] != ' ' {
		return
	}
	host := m.Text[:end]
	tag, pid, text := cutTag(m.Text[end+1:])
	if tag != nil && (isOneOf(host, hosts) || isNumber(pid) && isHost(host)) {
		m.Tag, m.PID, m.Text = tag, pid, text
	}
}

func isOneOf(b []byte, list [][]byte) bool {
	for _, l := range list {
		if bytes.Equal(b, l) {
			return true
		}
	}
	return false
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

// isHost reports whether b looks like a name or an address (RFC 3164, 4.1.2).
func isHost(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '.' && c != ':' && c != '_' {
			return false
		}
	}
	return true
}

// cutStamp takes a time of either kind and the blank behind it off the front.
func cutStamp(b []byte) (rest []byte, ok bool) {
	end := 0
	if isStamp(b) {
		end = stampLen
	} else if isTime5424(b) {
		const seconds = len("2006-01-02T15:04:05")
		end = seconds + wordEnd(b[seconds:], ' ', ' ')
		if end < len(b) && b[end] != ' ' || !isZone(b[seconds:end]) {
			return b, false
		}
	}
	if end == 0 {
		return b, false
	}
	return b[min(end+1, len(b)):], true
}

// isZone reports whether b is the end of a time of RFC 3339: a fraction or
// none, and Z or an offset.
func isZone(b []byte) bool {
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		for len(b) > 0 && isDigit(b[0]) {
			b = b[1:]
		}
	}
	if len(b) == 1 {
		return b[0] == 'Z'
	}
	return len(b) == len("+07:00") && (b[0] == '+' || b[0] == '-') && isNumber(b[1:3]) && b[3] == ':' && isNumber(b[4:])
}

// cutPRI takes "<N>" with N from 0 to 191 off the front.
func cutPRI(b []byte) (rest []byte, pri int, ok bool) {
	if len(b) < 3 || b[0] != '<' {
		return b, 0, false
	}
	for i := 1; i < len(b) && i <= 4; i++ {
		c := b[i]
		if c == '>' && i > 1 {
			return b[i+1:], pri, pri <= maxPriority
		}
		if c < '0' || c > '9' {
			break
		}
		pri = pri*10 + int(c-'0')
	}
	return b, 0, false
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// isStamp reports whether b starts with "Mmm dd hh:mm:ss", followed by a space
// or nothing. The numbers are not checked further: the time is not used.
func isStamp(b []byte) bool {
	if len(b) < stampLen || b[3] != ' ' || b[6] != ' ' || b[9] != ':' || b[12] != ':' {
		return false
	}
	if len(b) > stampLen && b[stampLen] != ' ' {
		return false
	}
	if !isDigit(b[4]) && b[4] != ' ' {
		return false
	}
	for _, i := range [...]int{5, 7, 8, 10, 11, 13, 14} {
		if !isDigit(b[i]) {
			return false
		}
	}
	for i := 0; i < len(months); i += 3 {
		if b[0] == months[i] && b[1] == months[i+1] && b[2] == months[i+2] {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// cutTag takes "tag: " or "tag[pid]: " off the front. Whatever differs in one
// byte is text, so that writing tag, pid and text gives back what was sent.
func cutTag(b []byte) (tag, pid, text []byte) {
	end := wordEnd(b, ':', '[')
	if end == 0 || end == len(b) {
		return nil, nil, b
	}
	tag, rest := b[:end], b[end:]
	if rest[0] == '[' {
		end = wordEnd(rest[1:], ']', ']')
		if end == 0 || 1+end >= len(rest) || rest[1+end] != ']' {
			return nil, nil, b
		}
		pid, rest = rest[1:1+end], rest[1+end+1:]
	}
	if len(rest) < 2 || rest[0] != ':' || rest[1] != ' ' {
		return nil, nil, b
	}
	return tag, pid, rest[2:]
}

// wordEnd returns the index of the first stop, blank or control byte, or len(b).
func wordEnd(b []byte, stop1, stop2 byte) int {
	for i, c := range b {
		if c == stop1 || c == stop2 || c <= ' ' || c == 0x7f {
			return i
		}
	}
	return len(b)
}

var bom = []byte("\xef\xbb\xbf")

// parse5424 reads "1 TIMESTAMP HOST APP PROCID MSGID SD [MSG]" (RFC 5424, 6)
// and reports whether b was that; if not, m is as it was.
func parse5424(b []byte, m *Message) bool {
	if len(b) < 2 || b[0] != '1' || b[1] != ' ' {
		return false
	}
	var field [5][]byte // timestamp, host, app, procid, msgid
	rest := b[2:]
	for i := range field {
		end := wordEnd(rest, ' ', ' ')
		if end == 0 || end == len(rest) || rest[end] != ' ' {
			return false
		}
		field[i], rest = rest[:end], rest[end+1:]
	}
	if !isNil(field[0]) && !isTime5424(field[0]) {
		return false
	}
	end := sdEnd(rest)
	if end < 0 || end < len(rest) && rest[end] != ' ' {
		return false
	}
	m.Tag, m.PID, m.MsgID, m.SD = orNone(field[2]), orNone(field[3]), orNone(field[4]), orNone(rest[:end])
	if end < len(rest) {
		m.Text = bytes.TrimPrefix(rest[end+1:], bom)
	}
	return true
}

func isNil(b []byte) bool { return len(b) == 1 && b[0] == '-' }

func orNone(b []byte) []byte {
	if isNil(b) {
		return nil
	}
	return b
}

// isTime5424 reports whether b looks like 2003-10-11T22:14:15.003Z.
func isTime5424(b []byte) bool {
	return len(b) >= len("2006-01-02T15:04:05Z") && isDigit(b[0]) && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':'
}

// sdEnd returns the length of the structured data in front of b ("-" or
// elements in brackets, RFC 5424, 6.3), or -1 when there is none.
func sdEnd(b []byte) int {
	if len(b) > 0 && b[0] == '-' {
		return 1
	}
	i := 0
	for i < len(b) && b[i] == '[' {
		quoted := false
		for i++; ; i++ {
			if i >= len(b) {
				return -1
			}
			if c := b[i]; c == '"' {
				quoted = !quoted
			} else if c == '\\' && quoted {
				i++
			} else if c == ']' && !quoted {
				break
			}
		}
		i++
	}
	if i == 0 {
		return -1
	}
	return i
}
