package syslog

import (
	"encoding/binary"
	"time"
	"unicode/utf8"
)

// Stamp formats times as "Mmm dd hh:mm:ss" in the local zone. It remembers the last one, since
// many messages come in one second. The zero value is ready.
type Stamp struct {
	second int64
	text   []byte
}

// Bytes returns the text for t. It is valid until the next call.
func (s *Stamp) Bytes(t time.Time) []byte {
	if sec := t.Unix(); s.text == nil || sec != s.second {
		s.second, s.text = sec, t.Local().AppendFormat(s.text[:0], time.Stamp)
	}
	return s.text
}

// AppendRFC3164 appends the line "STAMP HOST TAG[PID]: TEXT\n" (RFC 3164 without PRI, as
// syslogd has always written it). It also returns the offset of TAG in the line. An empty host
// is left out with its blank. See AppendBody for escapes. " [cut]" ends an incomplete message,
// and " [sent by pid=N uid=N gid=N]" one that claims another process as its sender.
func AppendRFC3164(dst, stamp, host []byte, m *Message) (line []byte, body int) {
	dst = append(dst, stamp...)
	dst = append(dst, ' ')
	if len(host) > 0 {
		dst = append(dst, host...)
		dst = append(dst, ' ')
	}
	body = len(dst)
	return append(appendMarks(AppendBody(dst, m), m), '\n'), body
}

// appendMarks appends the receiver's remarks about a message.
func appendMarks(dst []byte, m *Message) []byte {
	if m.Cut {
		dst = append(dst, " [cut]"...)
	}
	if m.Sender.Differs {
		dst = append(dst, " [sent by "...)
		dst = m.Sender.append(dst, "pid=", " uid=", " gid=", "]")
	}
	return dst
}

// AppendBody appends "TAG[PID]: MSGID SD TEXT", each part only if there is one.
// Control characters (also DEL, U+0080 to U+009F, U+FEFF, and those that change
// the direction of text) and bytes that are not UTF-8 are written as #ooo in octal, as rsyslog does: one message is one
// line, and cannot forge another or drive a terminal.
func AppendBody(dst []byte, m *Message) []byte {
	if len(m.Tag) > 0 || len(m.PID) > 0 {
		if len(m.Tag) > 0 {
			dst = appendEscaped(dst, m.Tag)
		} else {
			dst = append(dst, '-')
		}
		if len(m.PID) > 0 {
			dst = append(dst, '[')
			dst = appendEscaped(dst, m.PID)
			dst = append(dst, ']')
		}
		dst = append(dst, ':')
		if !m.Glued {
			dst = append(dst, ' ')
		}
	}
	for _, part := range [...][]byte{m.MsgID, m.SD} {
		if len(part) > 0 {
			dst = appendEscaped(dst, part)
			dst = append(dst, ' ')
		}
	}
	return appendEscaped(dst, m.Text)
}

// Escape returns the text with control characters, and bytes that are not UTF-8, escaped as in
// AppendBody.
func Escape(text string) string { return string(appendEscaped(nil, []byte(text))) }

// IsVisible returns whether the text needs no Escape, apart from its line ends and tabs.
func IsVisible(text []byte) bool {
	for len(text) > 0 {
		text = text[plain(text):]
		if len(text) == 0 {
			break
		}
		r, size := utf8.DecodeRune(text)
		if isHidden(r) && r != '\n' && r != '\t' || r == utf8.RuneError && size == 1 {
			return false
		}
		text = text[size:]
	}
	return true
}

// isBidi returns whether r changes the direction of the text after it, so that a reader would
// see other text than was written (Unicode UAX #9, 2), or ends a line or paragraph.
func isBidi(r rune) bool {
	return r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x61c
}

// plain returns how many bytes at the start of b are printable ASCII. Most text is, so it
// checks eight bytes at a time.
func plain(b []byte) int {
	n := 0
	for ; len(b)-n >= 32; n += 32 {
		c := b[n : n+32]
		if (unprintable(c)|unprintable(c[8:])|unprintable(c[16:])|unprintable(c[24:]))&highBits != 0 {
			break
		}
	}
	for len(b)-n >= 8 && unprintable(b[n:])&highBits == 0 {
		n += 8
	}
	for n < len(b) && b[n] >= ' ' && b[n] < 0x7f {
		n++
	}
	return n
}

const (
	eachByte = 0x0101010101010101
	highBits = 0x80 * eachByte
)

// unprintable sets the highest bit of the first byte of the eight that is not printable ASCII.
// From 0x80 on the bit is set already; adding one sets it for 0x7f, and subtracting ' ' for
// what is less. A carry may also set it in a later byte.
func unprintable(b []byte) uint64 {
	w := binary.NativeEndian.Uint64(b)
	return w | (w + eachByte) | (w - ' '*eachByte)
}

func appendEscaped(dst, b []byte) []byte {
	for len(b) > 0 {
		n := plain(b)
		dst, b = append(dst, b[:n]...), b[n:]
		if len(b) == 0 {
			break
		}
		r, size := utf8.DecodeRune(b)
		if isHidden(r) || r == utf8.RuneError && size == 1 {
			dst = appendOctal(dst, b[:size])
		} else {
			dst = append(dst, b[:size]...)
		}
		b = b[size:]
	}
	return dst
}

// isHidden returns whether r is a control character, or another one that is not visible but
// affects the text around it.
func isHidden(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfeff || isBidi(r) }

func appendOctal(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, '#', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
	}
	return dst
}
