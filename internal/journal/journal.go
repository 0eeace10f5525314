// Package journal reads and writes the native protocol of systemd's journal: entries of fields
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/, systemd.journal-fields(7)).
package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"devlog/internal/syslog"
)

const (
	// maxName is the longest name of a field, in bytes (journal_field_valid in
	// src/libsystemd/sd-journal/journal-file.c).
	maxName = 64
	// maxFields is the most fields of an entry (ENTRY_FIELD_COUNT_MAX in
	// src/journal/journald-native.c).
	maxFields = 1024
	// maxParams is the most parameters of structured data that become fields.
	maxParams = 64
)

// AppendField appends a field to an entry. The name must be valid; the value may
// be any bytes.
func AppendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	if bytes.IndexByte(value, '\n') < 0 {
		dst = append(dst, '=')
	} else {
		dst = append(dst, '\n')
		dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	}
	return append(append(dst, value...), '\n')
}

// appendNumber is AppendField for a number.
func appendNumber(dst []byte, name string, n int) []byte {
	dst = append(append(dst, name...), '=')
	return append(strconv.AppendInt(dst, int64(n), 10), '\n')
}

// AppendMessage appends an entry for a message. stamp is its time as in RFC 3164. It also
// returns the offset of what follows the time. Text with hidden characters, or that is not
// UTF-8, is escaped as in a line of a file, and SYSLOG_RAW has it unchanged: journald writes an
// alert to terminals as it is (MaxLevelWall=), and so does journalctl(1) with -o cat.
func AppendMessage(dst, stamp []byte, m *syslog.Message) (entry []byte, body int) {
	dst = append(append(append(dst, "SYSLOG_TIMESTAMP="...), stamp...), '\n')
	body = len(dst)
	dst = appendNumber(dst, "PRIORITY", int(m.Severity.OnHost()))
	dst = appendNumber(dst, "SYSLOG_FACILITY", int(m.Facility))
	if len(m.Tag) > 0 {
		dst, _ = appendVisible(dst, "SYSLOG_IDENTIFIER", m.Tag)
	}
	if len(m.PID) > 0 {
		dst, _ = appendVisible(dst, "SYSLOG_PID", m.PID)
	}
	if len(m.MsgID) > 0 {
		dst = AppendField(dst, "SYSLOG_MSGID", m.MsgID)
	}
	dst = appendData(dst, m.SD)
	for _, f := range m.Fields {
		if reserved(f.Name) {
			dst = AppendField(dst, fieldName("CLIENT", f.Name), f.Value)
		} else {
			dst = AppendField(dst, string(f.Name), f.Value)
		}
	}
	if s := &m.Sender; s.Known {
		dst = appendNumber(dst, "OBJECT_PID", int(s.PID))
		dst = appendNumber(dst, "SENDER_UID", int(s.UID))
		dst = appendNumber(dst, "SENDER_GID", int(s.GID))
	}
	if m.Cut {
		dst = append(dst, "SYSLOG_CUT=1\n"...)
	}
	dst, as := appendVisible(dst, "MESSAGE", m.Text)
	if !as {
		dst = AppendField(dst, "SYSLOG_RAW", m.Text)
	}
	return dst, body
}

// appendVisible is AppendField for text. as says that it is not escaped.
func appendVisible(dst []byte, name string, text []byte) (entry []byte, as bool) {
	if syslog.IsVisible(text) {
		return AppendField(dst, name, text), true
	}
	return AppendField(dst, name, []byte(syslog.Escape(string(text)))), false
}

// appendData appends the parameters of RFC 5424's structured data, each as a field SD_ID_NAME.
func appendData(dst, data []byte) []byte {
	n := 0
	for data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '['; {
		end := bytes.IndexAny(data, " ]")
		if end < 0 {
			return dst
		}
		id := data[1:end]
		data = data[end:]
		for len(data) > 0 && data[0] == ' ' {
			name, value, rest, ok := param(data[1:])
			if !ok {
				return dst
			}
			data = rest
			if n++; n <= maxParams {
				dst = AppendField(dst, fieldName("SD", id, name), value)
			}
		}
		if len(data) == 0 || data[0] != ']' {
			return dst
		}
		data = data[1:]
	}
	return dst
}

// param reads NAME="VALUE". In it \", \\ and \] stand for ", \ and ] (RFC 5424, 6.3.3).
func param(data []byte) (name, value, rest []byte, ok bool) {
	name, rest, ok = bytes.Cut(data, []byte(`="`))
	if !ok {
		return nil, nil, nil, false
	}
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			return name, value, rest[i+1:], true
		case c == '\\' && i+1 < len(rest) && bytes.IndexByte([]byte(`"\]`), rest[i+1]) >= 0:
			i++
			value = append(value, rest[i])
		default:
			value = append(value, c)
		}
	}
	return nil, nil, nil, false
}

// fieldName makes a valid name from a prefix and these parts.
func fieldName(prefix string, parts ...[]byte) string {
	name := []byte(prefix)
	for _, part := range parts {
		name = append(name, '_')
		for _, c := range part {
			switch {
			case c >= 'a' && c <= 'z':
				c -= 'a' - 'A'
			case (c < 'A' || c > 'Z') && (c < '0' || c > '9'):
				c = '_'
			}
			name = append(name, c)
		}
	}
	return string(name[:min(len(name), maxName)])
}

// What can be wrong with an entry.
var (
	ErrUnfinished = errors.New("a field ends early")
	ErrFields     = fmt.Errorf("it has more than %d fields", maxFields)
)

// Parse calls field for each field that has a valid name and is not trusted ("_..."): journald
// alone sets trusted fields, so a client's are ignored. The name and value are valid during
// the call. One datagram may hold several entries, with an empty line between them. Parse
// calls end after each.
func Parse(entry []byte, field func(name, value []byte), end func()) error {
	n, open := 0, false
	for len(entry) > 0 {
		line, rest, found := bytes.Cut(entry, []byte{'\n'})
		if len(line) == 0 { // an empty line ends an entry
			if open {
				end()
			}
			n, open, entry = 0, false, rest
			continue
		}
		if n++; n > maxFields {
			return ErrFields
		}
		name, value, text := bytes.Cut(line, []byte{'='})
		switch {
		case text:
			entry = rest
		case !found || len(rest) < 8:
			return ErrUnfinished
		default:
			size := binary.LittleEndian.Uint64(rest)
			rest = rest[8:]
			if size >= uint64(len(rest)) || rest[size] != '\n' {
				return ErrUnfinished
			}
			value, entry = rest[:size], rest[size+1:]
		}
		open = true
		if validName(name) {
			field(name, value)
		}
	}
	if open {
		end()
	}
	return nil
}

// validName returns whether clients may use the name for a field.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > maxName || name[0] < 'A' || name[0] > 'Z' {
		return false
	}
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
