package handover

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text is a string of any bytes, such as a path. JSON has UTF-8 only: another text, and
// one that begins with a quotation mark, is written as Go's source would have it.
type Text string

// MarshalText is for encoding/json. It always succeeds.
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

// decode reads an object. A member that is not what is expected is as one that is
// missing: it leaves its value as it is.
func decode(data []byte, p any) error {
	err := json.Unmarshal(data, p)
	if errors.As(err, new(*json.SyntaxError)) {
		return err
	}
	return nil
}

// What has a descriptor has none until it is read.

// UnmarshalJSON is for encoding/json.
func (f *Files) UnmarshalJSON(data []byte) error {
	type plain Files
	*f = Files{Init: -1, Root: -1, Store: -1}
	return decode(data, (*plain)(f))
}

// UnmarshalJSON is for encoding/json.
func (p *Place) UnmarshalJSON(data []byte) error {
	type plain Place
	*p = *newPlace()
	return decode(data, (*plain)(p))
}

// UnmarshalJSON is for encoding/json.
func (s *Socket) UnmarshalJSON(data []byte) error {
	type plain Socket
	*s = *newSocket()
	return decode(data, (*plain)(s))
}

// UnmarshalJSON is for encoding/json.
func (p *Connection) UnmarshalJSON(data []byte) error {
	type plain Connection
	*p = *newConnection()
	return decode(data, (*plain)(p))
}

// UnmarshalJSON is for encoding/json.
func (k *KernelLog) UnmarshalJSON(data []byte) error {
	type plain KernelLog
	*k = *newKernelLog()
	return decode(data, (*plain)(k))
}

// UnmarshalJSON is for encoding/json.
func (c *Confinement) UnmarshalJSON(data []byte) error {
	type plain Confinement
	*c = *newConfinement()
	return decode(data, (*plain)(c))
}

// UnmarshalJSON is for encoding/json.
func (s *OutputState) UnmarshalJSON(data []byte) error {
	type plain OutputState
	*s = OutputState{FD: -1}
	return decode(data, (*plain)(s))
}

func newPlace() *Place             { return &Place{Dir: -1} }
func newSocket() *Socket           { return &Socket{FD: -1, Place: -1} }
func newConnection() *Connection   { return &Connection{FD: -1, Socket: -1} }
func newKernelLog() *KernelLog     { return &KernelLog{FD: -1} }
func newConfinement() *Confinement { return &Confinement{Mark: -1} }
func newOutput() *Output           { return &Output{State: OutputState{FD: -1}} }
