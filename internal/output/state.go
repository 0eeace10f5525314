package output

import (
	"bytes"
	"slices"
	"time"

	"devlog/internal/handover"
)

// State is what an output hands over to the one that takes its place when the
// program is replaced.
type State = handover.OutputState

// Lasting is an output that can be continued by another program.
type Lasting interface {
	// State returns what has to be handed over. The output can be used further.
	State(now time.Time) State
	// Resume goes on where another output was; this one was just opened.
	Resume(s State, now time.Time)
	// Buffered is the size of what is pending, in bytes.
	Buffered() int
}

// State is what is handed over of the buffer.
func (b *Buffer) State() State {
	return State{
		Written: b.counts.Written, Lost: slices.Clone(b.counts.Lost),
		Pending: bytes.Clone(b.buf[b.head:]), Torn: b.torn, Ours: b.ours,
		Unsaid: b.untold.n, UnsaidBy: handover.Text(b.untold.why), FD: -1,
	}
}

// Resume puts what was pending in front of what is.
func (b *Buffer) Resume(s State) {
	b.counts.Written += s.Written
	b.added += s.Written
	for _, lost := range s.Lost {
		b.counts.Lose(lost.Reason, lost.N)
		b.added += lost.N
	}
	if len(s.Pending) > 0 {
		b.added += uint64(bytes.Count(s.Pending, newline))
		if s.Ours {
			b.added--
		}
		b.buf, b.head = append(s.Pending, b.buf[b.head:]...), 0
		b.torn, b.ours = max(0, min(s.Torn, len(s.Pending)-1)), s.Ours
	}
	b.untold.n, b.untold.why = b.untold.n+s.Unsaid, string(s.UnsaidBy)
}
