package handover

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Format writes the description.
func (d *Description) Format() []byte {
	object, _ := json.Marshal(d) // it has only values that JSON knows
	return object
}

// Parse reads a description of any version. It ignores what it does not know. What is missing
// is as in a receiver that has just started. The error means that this is not a description.
func Parse(data []byte) (*Description, error) {
	d := NewDescription()
	err := decode(data, d)
	if err != nil {
		head, _, _ := bytes.Cut(data, []byte("\n"))
		err = fmt.Errorf("cannot read the receiver's state, which begins with %.40q: %w", head, err)
	}
	d.complete()
	return d, err
}

// complete removes nulls from lists.
func (d *Description) complete() {
	_, d.Cleanups = compact(d.Cleanups, func(p *Cleanup) bool { return p != nil })
	_, d.Sockets = compact(d.Sockets, func(s *Socket) bool { return s != nil })
	_, d.Connections = compact(d.Connections, func(c *Connection) bool { return c != nil })
	_, d.Outputs = compact(d.Outputs, func(o *Output) bool { return o != nil })
	if d.Counters == nil {
		d.Counters = map[string]uint64{}
	}
}
