package output

import "time"

// lostUnopened is why an output that could not be opened loses messages.
const lostUnopened = "not open"

// none is an output that could not be opened.
type none struct {
	path   string
	counts Counts
}

// None returns an output in place of one that cannot be opened: it counts every
// message as lost.
func None(path string) Output { return &none{path: path} }

func (n *none) Name() string     { return n.path }
func (n *none) Add(Message)      { n.counts.lose(lostUnopened, 1) }
func (n *none) Flush(time.Time)  {}
func (n *none) Next() time.Time  { return time.Time{} }
func (n *none) Reopen(time.Time) {}
func (n *none) Close()           {}
func (n *none) Counts() Counts   { return n.counts }
