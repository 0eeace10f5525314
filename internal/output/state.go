package output

import (
	"bytes"
	"slices"
	"time"

	"devlog/internal/handover"
)

// State is what an output passes to its successor when the program is replaced.
type State = handover.OutputState

// Lasting is an output that another program can continue.
type Lasting interface {
	// State returns what to pass on. The output remains usable.
	State(now time.Time) State
	// Resume continues for an output that returned this state. This output was just opened.
	Resume(s State, now time.Time)
	// Buffered returns the size of what is pending, in bytes.
	Buffered() int
}

// State returns the buffer's part of a State.
func (b *Buffer) State() State {
	return State{
		Written: b.counts.Written, Lost: slices.Clone(b.counts.Lost),
		Pending: bytes.Clone(b.buf[b.head:]), Torn: b.torn, Ours: b.ours,
		Unsaid: b.untold.n, UnsaidBy: handover.Text(b.untold.why), FD: -1,
	}
}

// Resume inserts what was pending before what is pending now.
func (b *Buffer) Resume(s State) {
	b.counts.Add(s.Written, s.Lost)
	earlier := Counts{Written: s.Written, Lost: s.Lost}
	b.added += earlier.Written + earlier.AllLost()
	if len(s.Pending) > 0 {
		b.added += uint64(bytes.Count(s.Pending, newline))
		if s.Ours {
			b.added--
		}
		b.buf, b.head = append(s.Pending, b.buf[b.head:]...), 0
		b.torn, b.ours = max(0, min(s.Torn, len(s.Pending)-1)), s.Ours
	}
	b.untold.add(s.Unsaid, string(s.UnsaidBy))
}
