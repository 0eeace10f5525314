package handover

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text is a string of any bytes, such as a path. JSON only has UTF-8: other text, and text
// that begins with a quotation mark, is written as a Go string literal.
type Text string

// MarshalText implements encoding.TextMarshaler. It always succeeds.
func (t Text) MarshalText() ([]byte, error) {
	if utf8.ValidString(string(t)) && !strings.HasPrefix(string(t), `"`) {
		return []byte(t), nil
	}
	return strconv.AppendQuoteToASCII(nil, string(t)), nil
}

// UnmarshalText undoes MarshalText. It always succeeds.
func (t *Text) UnmarshalText(data []byte) error {
	*t = Text(data)
	if text, err := strconv.Unquote(string(data)); err == nil && data[0] == '"' {
		*t = Text(text)
	}
	return nil
}

// decode reads an object. It treats a member of an unexpected type as missing, and leaves its
// value unchanged.
func decode(data []byte, p any) error {
	err := json.Unmarshal(data, p)
	if errors.As(err, new(*json.SyntaxError)) {
		return err
	}
	return nil
}

// Descriptors are -1 until they are read.

// UnmarshalJSON implements json.Unmarshaler.
func (f *Files) UnmarshalJSON(data []byte) error {
	type plain Files
	*f = Files{Init: -1, Root: -1}
	return decode(data, (*plain)(f))
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Cleanup) UnmarshalJSON(data []byte) error {
	type plain Cleanup
	*p = *newCleanup()
	return decode(data, (*plain)(p))
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Socket) UnmarshalJSON(data []byte) error {
	type plain Socket
	*s = *newSocket()
	return decode(data, (*plain)(s))
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Connection) UnmarshalJSON(data []byte) error {
	type plain Connection
	*p = *newConnection()
	return decode(data, (*plain)(p))
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *KernelLog) UnmarshalJSON(data []byte) error {
	type plain KernelLog
	*k = *newKernelLog()
	return decode(data, (*plain)(k))
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Confinement) UnmarshalJSON(data []byte) error {
	type plain Confinement
	*c = *newConfinement()
	return decode(data, (*plain)(c))
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *OutputState) UnmarshalJSON(data []byte) error {
	type plain OutputState
	*s = OutputState{FD: -1}
	return decode(data, (*plain)(s))
}

func newCleanup() *Cleanup         { return &Cleanup{Dir: -1} }
func newSocket() *Socket           { return &Socket{FD: -1, Cleanup: -1} }
func newConnection() *Connection   { return &Connection{FD: -1, Socket: -1} }
func newKernelLog() *KernelLog     { return &KernelLog{FD: -1} }
func newConfinement() *Confinement { return &Confinement{Mark: -1} }
