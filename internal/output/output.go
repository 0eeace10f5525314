// Package output owns what an output is: a place that messages are written to. It keeps what
// cannot be written now, and counts what is lost.
package output

import (
	"time"

	"devlog/internal/handover"
	"devlog/internal/syslog"
)

// Message is a message for outputs. Its slices are only valid during the call.
type Message struct {
	Priority syslog.Priority
	Line     []byte // the whole line, with its newline
	Body     []byte // "TAG[PID]: TEXT" in Line; in other layouts than RFC 3164 everything after the time
	Sync     bool   // it must be on the disk when Flush returns
}

// Output is a place that messages are written to. One goroutine uses it.
type Output interface {
	// Name returns the path.
	Name() string
	// Add adds a message. The next Flush writes it, or Add already does.
	Add(m Message)
	// Flush writes what it can. It counts failures, and retries after Next.
	Flush(now time.Time)
	// Next returns when to call Flush if nothing is added before; the zero time for never.
	Next() time.Time
	// Reopen opens the path again: the file may have been renamed. If that fails, it is tried
	// again later.
	Reopen(now time.Time)
	// Close counts what is pending as lost.
	Close()
	// Counts returns what happened to the messages.
	Counts() Counts
}

// Notice appends a whole line with this text, which comes from the receiver itself, to dst.
type Notice func(dst []byte, text string) []byte

// Counts are the counts of an output's messages: each is written, pending or lost.
type Counts struct {
	Written uint64
	Pending uint64
	Lost    []Loss
	Untold  uint64 // lost messages without a notice in the output
}

// Loss is a number of messages that were lost for one reason.
type Loss = handover.Loss

// AllLost returns how many messages were lost.
func (c *Counts) AllLost() (n uint64) {
	for _, l := range c.Lost {
		n += l.N
	}
	return n
}

// Add adds what happened to other messages.
func (c *Counts) Add(written uint64, lost []Loss) {
	c.Written += written
	for _, l := range lost {
		c.Lose(l.Reason, l.N)
	}
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
