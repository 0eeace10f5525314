package intake

import (
	"bytes"
	"slices"
	"time"

	"devlog/internal/syslog"
)

// Connection is what another process needs to continue a client's connection.
type Connection struct {
	FD      int
	Framing int    // framer.code
	From    int    // index of its socket, or -1
	Skip    bool   // skip up to the next end of a message
	Rest    []byte // an incomplete message
	Head    []byte // what it sent first, if it is a standard output
	Sender  syslog.Sender
}

// State returns the open connections, the one that was idle longest first.
func (i *Intake) State() (list []Connection) {
	for c := i.streams.oldest; c != nil; c = c.newer {
		list = append(list, Connection{
			FD: c.fd, Framing: c.frame.code(), From: slices.Index(i.sockets, c.from), Skip: c.frame.skip,
			Rest: bytes.Clone(c.rest), Head: c.head, Sender: c.sender,
		})
	}
	return list
}

// Resume continues connections of another process, in the order of State. Their sockets were
// added in the same order as there.
func (i *Intake) Resume(list []Connection) error {
	for _, p := range list {
		c := &connection{fd: p.FD, frame: decodeFramer(p.Framing, p.Skip), sender: p.Sender}
		if p.From >= 0 && p.From < len(i.sockets) {
			c.from = i.sockets[p.From]
			c.isStdout = c.from.Journal
		}
		if len(p.Head) > 0 {
			c.isStdout = true
			c.use(p.Head)
		}
		i.streams.open[c.fd] = c
		i.streams.push(c)
		i.streams.keep(c, p.Rest)
		if err := i.watch(c); err != nil {
			return err
		}
	}
	return nil
}

// Debt returns the time until the socket's bucket is full.
func (s *Socket) Debt(now time.Time) time.Duration { return max(0, s.bucket.full.Sub(now)) }

// SetDebt sets what Debt returns.
func (s *Socket) SetDebt(debt time.Duration, now time.Time) {
	if debt > 0 {
		s.bucket.full = now.Add(debt)
	}
}

// Unsaid returns how many dropped messages were not reported with Say yet.
func (i *Intake) Unsaid() uint64 { return i.limits.unsaid }

// SetUnsaid sets what Unsaid returns, and reports them after a while.
func (i *Intake) SetUnsaid(n uint64, now time.Time) {
	if i.limits.unsaid = n; n > 0 {
		i.limits.sayAt = now.Add(dropEvery)
		i.schedule()
	}
}
