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
	switch {
	case isOwn(m.Tag):
		tag := append(make([]byte, 0, len(m.Tag)+1), ownTag+"?"...)
		m.Tag = append(tag, m.Tag[len(ownTag):]...)
	case len(m.Tag)+len(m.PID) > 0:
	case isOwn(m.MsgID), len(m.MsgID)+len(m.SD) == 0 && isOwn(bytes.TrimLeft(m.Text, " ")):
		m.Tag = []byte("?")
	}
}

// isOwn returns whether the text begins with the receiver's tag, and not with a longer word. A
// character that is not ASCII does not make a longer word: it may be invisible, such as a
// zero-width space.
func isOwn(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte(ownTag))
	if !ok || len(rest) == 0 {
		return ok
	}
	c := rest[0]
	return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' && c != '?'
}
