package router

import (
	"bytes"

	"devlog/internal/syslog"
)

// ownTag is what the receiver calls itself in messages of its own.
const ownTag = "devlogd"

// Disown changes the tag of a message that says it is the receiver's own: none that
// comes from a sender can be, and a reader, or a program that counts losses, is to
// see that. "devlogd" becomes "devlogd?"; where a line without a tag would begin like
// the receiver's, the tag is "?".
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

// isOwn says that the text begins with the receiver's tag, of which this is no part of
// a longer word. A character that is not ASCII may not be seen, such as a space without
// width.
func isOwn(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte(ownTag))
	if !ok || len(rest) == 0 {
		return ok
	}
	c := rest[0]
	return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' && c != '?'
}
