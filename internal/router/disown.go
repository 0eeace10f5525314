package router

import (
	"bytes"

	"devlog/internal/syslog"
)

// ownTag is the receiver's tag in its own messages.
const ownTag = "devlogd"

// Disown changes the tag of a message from a sender that claims to be the receiver's own, so
// that readers and programs that count losses are not misled. "devlogd" becomes "devlogd?". If
// a line without a tag would begin like one of the receiver's, its tag becomes "?".
func Disown(m *syslog.Message) {
	end := ownEnd(m.Tag)
	switch {
	case end > 0:
		tag := append(make([]byte, 0, len(m.Tag)+1), m.Tag[:end]...)
		m.Tag = append(append(tag, '?'), m.Tag[end:]...)
	case len(m.Tag)+len(m.PID) > 0:
	case ownEnd(m.MsgID) > 0, len(m.MsgID)+len(m.SD) == 0 && ownEnd(m.Text) > 0:
		m.Tag = []byte("?")
	}
}

// ownEnd returns the end of the receiver's tag at the beginning of the text; 0 if the text does
// not begin with it, or with a longer word. A character that is not ASCII does not make a longer
// word: it may be invisible, such as a zero-width space. Nor does it before the word.
func ownEnd(text []byte) int {
	word := bytes.TrimLeftFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	rest, ok := bytes.CutPrefix(word, []byte(ownTag))
	if !ok {
		return 0
	}
	if len(rest) > 0 {
		c := rest[0]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/' || c == '?' {
			return 0
		}
	}
	return len(text) - len(rest)
}
