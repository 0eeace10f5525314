// Package output owns the output: a place that messages are written to, which
// keeps what cannot be written now and counts what is lost.
package output

import (
	"time"

	"devlog/internal/handover"
	"devlog/internal/syslog"
)

// Message is a message as outputs take it. Its slices are only used during the
// call.
type Message struct {
	Priority syslog.Priority
	Line     []byte // the whole line, with the newline at its end
	Body     []byte // the part "TAG[PID]: TEXT" of Line; of other layouts than RFC 3164 all behind the time
	Sync     bool   // it must be on the disk when Flush returns
}

// Output is a place that messages are written to. It is used by one goroutine.
type Output interface {
	// Name is the path of the place.
	Name() string
	// Add takes one message. It may be written at the next Flush only.
	Add(m Message)
	// Flush writes what it can of what was added. Failures are counted and
	// tried again by a Flush at or after Next.
	Flush(now time.Time)
	// Next is when Flush should be called although nothing was added; the
	// zero time is never.
	Next() time.Time
	// Reopen opens the path again, for it may have been renamed. If that
	// fails, it is tried again later.
	Reopen(now time.Time)
	// Close gives up what is pending, counting it as lost.
	Close()
	// Counts says what became of the messages so far.
	Counts() Counts
}

// Notice appends a whole line by the receiver itself with this text to dst.
type Notice func(dst []byte, text string) []byte

// Counts is what became of the messages that an output took:
// each is written, pending or lost.
type Counts struct {
	Written uint64
	Pending uint64
	Lost    []Loss
	Untold  uint64 // of those lost, the place does not tell of so many yet
}

// Loss is a number of messages lost for one reason.
type Loss = handover.Loss

// AllLost is how many messages are lost in all.
func (c *Counts) AllLost() (n uint64) {
	for _, l := range c.Lost {
		n += l.N
	}
	return n
}

// Lose counts n messages as lost.
func (c *Counts) Lose(reason string, n uint64) {
	if n == 0 {
		return
	}
	for i := range c.Lost {
		if c.Lost[i].Reason == reason {
			c.Lost[i].N += n
			return
		}
	}
	c.Lost = append(c.Lost, Loss{Reason: reason, N: n})
}
