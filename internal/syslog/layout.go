package syslog

import (
	"bytes"
	"encoding/binary"
	"slices"
	"time"
	"unicode/utf8"
)

// Layout is the format of a message's line.
type Layout uint8

// The layouts.
const (
	RFC3164 Layout = iota // "Mmm dd hh:mm:ss HOST TAG[PID]: TEXT", as syslogd always wrote it
	RFC5424               // as in that RFC, without PRI
	JSON                  // an object

	NumLayouts = iota
)

var layoutNames = [NumLayouts]string{"RFC3164", "RFC5424", "JSON"}

// String returns the layout's name in syslog.conf(5).
func (l Layout) String() string {
	if int(l) < len(layoutNames) {
		return layoutNames[l]
	}
	return "unknown"
}

// PreciseStamp formats times as in RFC 3339, with microseconds and the local zone's offset. It
// remembers the last second. The zero value is ready.
type PreciseStamp struct {
	second int64
	text   []byte // whose microseconds begin at fraction
	valid  bool
}

// fraction is the offset of the microseconds.
const fraction = len("2006-01-02T15:04:05.")

// Bytes returns the text for t. It is valid until the next call.
func (s *PreciseStamp) Bytes(t time.Time) []byte {
	if sec := t.Unix(); !s.valid || sec != s.second {
		s.second, s.text, s.valid = sec, t.Local().AppendFormat(s.text[:0], "2006-01-02T15:04:05.000000Z07:00"), true
	}
	micros := t.Nanosecond() / 1000
	for i := fraction + 5; i >= fraction; i-- {
		s.text[i] = byte('0' + micros%10)
		micros /= 10
	}
	return s.text
}

// senderID, containerID and fieldsID name the structured data that the receiver adds. The number is the
// one for documentation (RFC 5612), because the project has no number.
const (
	senderID    = "[sender@32473"
	containerID = "[container@32473"
	fieldsID    = "[journal@32473"
)

// ContainerData returns the structured data with the container's name and, unless it is empty,
// its ID.
func ContainerData(name, id string) []byte {
	data := appendParam(append([]byte(nil), containerID...), "name", name)
	if id != "" {
		data = appendParam(data, "id", id)
	}
	return append(data, ']')
}

// appendParam appends a parameter of structured data (RFC 5424, 6.3.3).
func appendParam(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, ' '), name...), `="`...)
	for _, c := range []byte(value) {
		if c == '"' || c == '\\' || c == ']' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// AppendRFC5424 appends the line "STAMP HOST TAG PID MSGID SD TEXT\n" (RFC 5424, 6, without
// PRI and version, as syslog daemons write it to files). Missing parts are "-". The structured
// data begins with the sender, if known, and the container's data, which may be empty. If a
// message has elements with these names, its own data comes before its text instead. See
// AppendBody for escapes.
func AppendRFC5424(dst, stamp, host, container []byte, m *Message) []byte {
	dst = append(dst, stamp...)
	for _, part := range [...][]byte{host, m.Tag, m.PID, m.MsgID} {
		dst = appendName(append(dst, ' '), part)
	}
	dst = append(dst, ' ')
	forged := bytes.Contains(m.SD, []byte(senderID)) || bytes.Contains(m.SD, []byte(containerID))
	none := len(m.SD) == 0 || forged
	dst = append(dst, container...)
	if m.Sender.Known {
		dst = append(dst, senderID...)
		dst = m.Sender.append(dst, ` pid="`, `" uid="`, `" gid="`, `"]`)
	} else if none && len(container)+len(m.Fields) == 0 {
		dst = append(dst, '-')
	}
	dst = appendFields(dst, m.Fields)
	if !none {
		dst = appendEscaped(dst, m.SD)
	}
	if forged {
		dst = appendEscaped(append(dst, ' '), m.SD)
	}
	if len(m.Text) > 0 {
		dst = appendEscaped(append(dst, ' '), m.Text)
	}
	if m.Cut {
		dst = append(dst, " [cut]"...)
	}
	return append(dst, '\n')
}

// appendFields appends the fields of an entry of the journal as structured data.
func appendFields(dst []byte, fields []Field) []byte {
	if len(fields) == 0 {
		return dst
	}
	dst = append(dst, fieldsID...)
	for _, f := range fields {
		dst = append(append(append(dst, ' '), f.Name...), `="`...)
		for rest := f.Value; len(rest) > 0; {
			n := bytes.IndexAny(rest, `"\]`)
			if n < 0 {
				dst = appendEscaped(dst, rest)
				break
			}
			dst = append(appendEscaped(dst, rest[:n]), '\\', rest[n])
			rest = rest[n+1:]
		}
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

// appendName appends a field of RFC 5424's header, which is printable ASCII.
func appendName(dst, b []byte) []byte {
	if len(b) == 0 {
		return append(dst, '-')
	}
	for i, c := range b {
		if c <= ' ' || c >= 0x7f {
			dst = appendOctal(dst, b[i:i+1])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// AppendJSON appends the message as an object (RFC 8259) in one line, with the names of RFC
// 5424: timestamp, hostname, facility, severity, appname, procid, msgid, sd and msg. Missing
// parts are left out, except msg. fields has the further fields of an entry of the journal. sender has the numbers pid, uid and gid, if known. cut is
// true if the message was longer. Bytes that are not UTF-8 are written as #ooo in octal.
func AppendJSON(dst, stamp, host []byte, m *Message) []byte {
	dst = append(append(dst, `{"timestamp":"`...), stamp...)
	dst = append(dst, '"')
	member := func(name string, value []byte) {
		if len(value) > 0 {
			dst = append(append(append(dst, `,"`...), name...), `":"`...)
			dst = append(appendJSONText(dst, value), '"')
		}
	}
	member("hostname", host)
	dst = append(append(dst, `,"facility":"`...), m.Facility.String()...)
	dst = append(append(dst, `","severity":"`...), m.Severity.String()...)
	dst = append(dst, '"')
	member("appname", m.Tag)
	member("procid", m.PID)
	member("msgid", m.MsgID)
	member("sd", m.SD)
	dst = append(dst, `,"msg":"`...)
	dst = append(appendJSONText(dst, m.Text), '"')
	dst = appendJSONFields(dst, m.Fields)
	if m.Sender.Known {
		dst = append(dst, `,"sender":`...)
		dst = m.Sender.append(dst, `{"pid":`, `,"uid":`, `,"gid":`, `}`)
	}
	if m.Cut {
		dst = append(dst, `,"cut":true`...)
	}
	return append(dst, "}\n"...)
}

// appendJSONFields appends the member fields, an object. A field that an entry has several
// times is an array.
func appendJSONFields(dst []byte, fields []Field) []byte {
	for i, f := range fields {
		same := func(o Field) bool { return bytes.Equal(o.Name, f.Name) }
		if slices.ContainsFunc(fields[:i], same) {
			continue
		}
		begin := `,"fields":{"`
		if i > 0 {
			begin = `,"`
		}
		dst = append(dst, begin...)
		dst = append(append(dst, f.Name...), `":`...)
		several := slices.ContainsFunc(fields[i+1:], same)
		if several {
			dst = append(dst, '[')
		}
		dst = append(appendJSONText(append(dst, '"'), f.Value), '"')
		for _, o := range fields[i+1:] {
			if same(o) {
				dst = append(appendJSONText(append(dst, `,"`...), o.Value), '"')
			}
		}
		if several {
			dst = append(dst, ']')
		}
	}
	if len(fields) > 0 {
		dst = append(dst, '}')
	}
	return dst
}

const hex = "0123456789abcdef"

// plainJSON returns how many bytes at the start of b need no escape in a string. See plain.
func plainJSON(b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		w := binary.NativeEndian.Uint64(b[n:])
		if (unprintable(b[n:])|hasByte(w, '"')|hasByte(w, '\\'))&highBits != 0 {
			break
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] < 0x7f && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// hasByte sets the highest bit of each byte of w that equals c. A carry may also set it in a
// later byte.
func hasByte(w uint64, c byte) uint64 {
	w ^= uint64(c) * eachByte
	return (w - eachByte) &^ w
}

// appendJSONText appends the text of a string, without its quotes.
func appendJSONText(dst, b []byte) []byte {
	for len(b) > 0 {
		n := plainJSON(b)
		dst, b = append(dst, b[:n]...), b[n:]
		if len(b) == 0 {
			break
		}
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = appendOctal(dst, b[:1])
		case r == '"', r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case isHidden(r): // all of them have at most four digits
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = append(dst, b[:size]...)
		}
		b = b[size:]
	}
	return dst
}

// Claims returns whether the message names the process pid as its sender, or none.
func (m *Message) Claims(pid int32) bool {
	n, ok := number(m.PID)
	return !ok || n == uint64(max(pid, 0))
}
