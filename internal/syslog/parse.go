package syslog

import (
	"bytes"
	"strconv"
)

// Message is a received message. Its slices are parts of the received bytes, and valid only as
// long as those.
type Message struct {
	Facility Facility
	Severity Severity
	Tag      []byte  // the sender's name; empty if it gives none
	PID      []byte  // the process ID that the sender claims; may be empty
	MsgID    []byte  // RFC 5424's MSGID; empty for none
	SD       []byte  // RFC 5424's structured data; empty for none
	Fields   []Field // further fields of an entry of the journal
	Text     []byte  // the rest
	Glued    bool    // no blank follows the tag's colon
	Cut      bool    // the message was longer
	Sender   Sender  // who sent it
	Kernel   bool    // it was read from the kernel's log
}

// Field is a field of an entry of systemd's journal. Its name consists of capital letters,
// digits and "_".
type Field struct{ Name, Value []byte }

// Sender is who sent a message, as the kernel reports it (SCM_CREDENTIALS in unix(7)). The
// zero value means that this is not known.
type Sender struct {
	Known    bool
	PID      int32 // in the receiver's PID namespace; 0 if it has no ID there
	UID, GID uint32
	// Differs says that the message names another process as its sender.
	Differs bool
}

// append appends the three numbers with the given texts around them.
func (s *Sender) append(dst []byte, pid, uid, gid, end string) []byte {
	dst = strconv.AppendInt(append(dst, pid...), int64(s.PID), 10)
	dst = strconv.AppendUint(append(dst, uid...), uint64(s.UID), 10)
	dst = strconv.AppendUint(append(dst, gid...), uint64(s.GID), 10)
	return append(dst, end...)
}

// Priority returns the message's facility and severity as one number.
func (m *Message) Priority() Priority { return MakePriority(m.Facility, m.Severity) }

// Parse reads one datagram into m. It understands what syslog(3) of C libraries sends (RFC
// 3164 without a host name), with or without PRI, time (also as in RFC 3339) and tag, and RFC
// 5424. It drops the time, because a client can claim any time. It drops a host name before a
// tag: one of hosts (see isSameHost), localhost, or any name between a time and a tag with a
// process ID. Everything else that it does not understand stays in Text, so nothing is lost
// and nothing can fail. A message without a valid PRI is user.notice. Facility kern belongs to
// the kernel, and becomes user (as in syslog(3)).
func Parse(raw []byte, m *Message, hosts ...[]byte) {
	*m = Message{Facility: User, Severity: Notice}
	// C clients may send the terminating NUL, other clients a newline, or both.
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
	m.Text = rest
	head := rest
	if ok {
		head = cutLead(rest, 1)
	}
	if text, timed := cutStamp(head); timed {
		m.Text = text
		m.cutHead(cutLead(text, len(text)), true, hosts)
		return
	}
	m.cutHead(head, false, hosts)
}

// cutLead removes a byte order mark and at most this many blanks from the front, if a time or
// a tag follows. Python's older SysLogHandler writes the mark, OpenVPN a blank, and nginx two
// blanks after the time while it has no host name.
func cutLead(b []byte, blanks int) []byte {
	if len(b) == 0 || b[0] != ' ' && b[0] != bom[0] { // the usual case
		return b
	}
	b = bytes.TrimPrefix(b, bom)
	for ; blanks > 0 && len(b) > 0 && b[0] == ' '; blanks-- {
		b = b[1:]
	}
	return bytes.TrimPrefix(b, bom)
}

// cutHead removes "[HOST ]TAG" from b, if b has a tag. b is the text, or its end.
func (m *Message) cutHead(b []byte, timed bool, hosts [][]byte) {
	if m.cutTag(b) {
		return
	}
	end := wordEnd(b, ' ', ' ')
	if end == 0 || end == len(b) || b[end] != ' ' {
		return
	}
	var behind Message
	if host := b[:end]; behind.cutTag(b[end+1:]) && (isOneOf(host, hosts) || timed && isNumber(behind.PID) && isHost(host)) {
		m.Tag, m.PID, m.Text, m.Glued = behind.Tag, behind.PID, behind.Text, behind.Glued
	}
}

var localhost = []byte("localhost")

// isOneOf returns whether b is localhost or one of the hosts.
func isOneOf(b []byte, hosts [][]byte) bool {
	if isSameHost(b, localhost) {
		return true
	}
	for _, h := range hosts {
		if isSameHost(b, h) {
			return true
		}
	}
	return false
}

// isSameHost returns whether two names are of the same host: they are equal except for case
// (RFC 1034, 3.1), or one is the other without its domain, as logger(1) writes it.
func isSameHost(a, b []byte) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) == 0 || len(a) < len(b) && (b[len(a)] != '.' || bytes.IndexByte(a, '.') >= 0) {
		return false
	}
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

// lower returns an ASCII letter in lower case, and other bytes unchanged.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func isNumber(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// isHost returns whether b looks like a name or an address (RFC 3164, 4.1.2).
func isHost(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && !isLetter(c) && c != '-' && c != '.' && c != ':' && c != '_' {
			return false
		}
	}
	return true
}

// cutPRI removes "<N>" with N from 0 to 191 from the front.
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

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// cutTag moves "TAG:" or "TAG[PID]:", and the blank after it, from the front of b to m, and
// the rest to Text. It returns false if there is no tag. The process ID is in the last
// brackets before the colon, because SSSD's tag has brackets itself. Joining the parts gives
// back what was sent, byte for byte.
func (m *Message) cutTag(b []byte) bool {
	end := wordEnd(b, ':', '[')
	if end == 0 || end == len(b) || b[end] != ':' && b[end] != '[' {
		return false
	}
	tag, pid := b[:end], []byte(nil)
	if b[end] == '[' {
		if tag, pid, end = cutPID(b, end); end == 0 {
			return false
		}
	}
	text := b[end+1:]
	glued := len(text) == 0 || text[0] != ' '
	if !glued {
		text = text[1:]
	} else if !endsTag(tag, pid, text) {
		return false
	}
	m.Tag, m.PID, m.Text, m.Glued = tag, pid, text, glued
	return true
}

// cutPID reads a tag with brackets, the first at open. It returns the offset of the colon, or
// 0.
func cutPID(b []byte, open int) (tag, pid []byte, end int) {
	end = open + 1 + wordEnd(b[open+1:], ']', '[')
	if end+1 >= len(b) || b[end] != ']' || b[end+1] != ':' { // not the usual form
		word := b[:wordEnd(b, ' ', ' ')]
		if end = bytes.Index(word, closing); end < 0 {
			return nil, nil, 0
		}
		open = bytes.LastIndexByte(word[:end], '[')
	}
	tag, pid = b[:open], b[open+1:end]
	end++
	if bytes.IndexByte(pid, ']') < 0 {
		if len(pid) == 0 {
			return nil, nil, 0
		}
		return tag, pid, end
	}
	tag = b[:end] // TAG[PART[PART]]: has no process ID
	if bytes.Count(tag, opening) != bytes.Count(tag, closing[:1]) {
		return nil, nil, 0
	}
	return tag, nil, end
}

var opening, closing = []byte("["), []byte("]:")

// endsTag returns whether a colon without a blank after it ends a tag (RFC 3164, 4.1.3), and
// is not part of an address, a path, a time or other text.
func endsTag(tag, pid, text []byte) bool {
	if len(pid) > 0 {
		return isNumber(pid)
	}
	letters, depth := 0, 0
	for _, c := range tag {
		switch {
		case isLetter(c):
			letters++
		case c == '(':
			depth++
		case c == ')':
			depth--
		case !isDigit(c) && bytes.IndexByte(tagMarks, c) < 0:
			return false
		}
	}
	if letters == 0 || depth != 0 {
		return false
	}
	return len(text) == 0 || text[0] != ':' && text[0] != '\\' && !bytes.HasPrefix(text, slashes) && (!isDigit(tag[0]) || !isDigit(text[0]))
}

// tagMarks are the characters of tags, besides letters, digits and parentheses.
var tagMarks, slashes = []byte("._-/@+[]"), []byte("//")

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

// parse5424 reads "1 TIMESTAMP HOST APP PROCID MSGID SD [MSG]" (RFC 5424, 6). It returns
// false, and leaves m unchanged, if b is something else.
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

// isTime5424 returns whether b looks like 2003-10-11T22:14:15.003Z.
func isTime5424(b []byte) bool {
	return len(b) >= len("2006-01-02T15:04:05Z") && isDigit(b[0]) && b[4] == '-' && b[7] == '-' && b[10] == 'T' && b[13] == ':' && b[16] == ':'
}

// sdEnd returns the length of the structured data at the start of b ("-" or elements in
// brackets, RFC 5424, 6.3), or -1 if b does not start with any.
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
