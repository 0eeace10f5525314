package intake

import (
	"slices"
	"time"

	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// blockTime is how many messages at least, as the time in which they may
	// come, are waited for once a socket is not read: to wake up for each of
	// them would cost more than the flood.
	blockTime = 50 * time.Millisecond
	// dropEvery is the time between two messages about dropped ones.
	dropEvery = 10 * time.Second
)

// bucket holds the messages that may be taken at once, N, and gets new ones
// evenly. The zero value is full.
type bucket struct {
	full time.Time // when it is, if nothing is taken
}

// interval is the time in which a message comes in.
func interval(r syslogconf.Rate) time.Duration { return r.Per / time.Duration(r.N) }

// holds is how many messages can be taken now.
func (b *bucket) holds(r syslogconf.Rate, now time.Time) int {
	return r.N - int((max(0, b.full.Sub(now))+interval(r)-1)/interval(r))
}

// take takes n messages out, also those that it does not hold.
func (b *bucket) take(r syslogconf.Rate, n int, now time.Time) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(time.Duration(n) * interval(r))
}

// refilled is when it holds what comes in during blockTime, one at least.
func (b *bucket) refilled(r syslogconf.Rate) time.Time {
	n := max(1, min(r.N, int(blockTime/interval(r))))
	return b.full.Add(-time.Duration(r.N-n) * interval(r))
}

// limits is what a flood is held against. Each socket has a bucket of its own,
// so that one sender's flood is not another's.
type limits struct {
	rate     syslogconf.Rate // zero without a limit
	overflow syslogconf.Overflow
	said     bool // that senders wait
	unsaid   uint64
	waiting  []*connection // that are not read
	sayAt    time.Time     // when to say how many were dropped; zero is never
}

// allows is how many of the messages that a socket has queued, at most slots,
// may be read now. If that is none the socket is not waited for until some may.
func (i *Intake) allows(s *Socket, now time.Time) int {
	n, until := i.share(s, now)
	if n == 0 {
		// The kernel stops the senders once the queue is full.
		if i.loop.Pause(s.FD) != nil {
			return slots // better too many than none for ever
		}
		s.waits = until
		i.schedule()
	}
	return n
}

// mayRead is allows for a connection, whose messages are of its socket's share.
func (i *Intake) mayRead(c *connection, now time.Time) bool {
	if !c.waits.IsZero() {
		return false
	}
	n, until := i.share(c.from, now)
	if n == 0 && i.loop.Pause(c.fd) == nil {
		c.waits = until
		i.limits.waiting = append(i.limits.waiting, c)
		i.schedule()
		return false
	}
	return true
}

// share is how many messages of a socket may be read now; if none, until when.
func (i *Intake) share(s *Socket, now time.Time) (n int, until time.Time) {
	if s == nil || i.limits.rate.N == 0 || i.limits.overflow != syslogconf.Block {
		return slots, until
	}
	if n := s.bucket.holds(i.limits.rate, now); n > 0 {
		return min(slots, n), until
	}
	i.Throttled++
	if !i.limits.said {
		i.limits.said = true
		i.taker.Say(syslog.Notice, "more than "+i.limits.rate.String()+" messages: their senders wait")
	}
	return 0, s.bucket.refilled(i.limits.rate)
}

// admit takes the next message of a socket out of its bucket, and reports
// whether it is to be written. Otherwise it is counted as dropped.
func (i *Intake) admit(s *Socket, now time.Time) bool {
	if s == nil || i.limits.rate.N == 0 {
		return true
	}
	if i.limits.overflow == syslogconf.Drop && s.bucket.holds(i.limits.rate, now) <= 0 {
		i.Dropped++
		i.limits.unsaid++
		if i.limits.sayAt.IsZero() {
			i.limits.sayAt = now.Add(dropEvery)
			i.schedule()
		}
		return false
	}
	s.bucket.take(i.limits.rate, 1, now)
	return true
}

// resumeReading waits again for the sockets and connections whose time has come.
func (i *Intake) resumeReading(now time.Time) {
	for _, s := range i.sockets {
		if !s.waits.IsZero() && !now.Before(s.waits) && i.loop.Resume(s.FD) == nil {
			s.waits = time.Time{}
		}
	}
	i.limits.waiting = slices.DeleteFunc(i.limits.waiting, func(c *connection) bool {
		if i.streams.open[c.fd] != c {
			return true // closed meanwhile
		}
		if now.Before(c.waits) || i.loop.Resume(c.fd) != nil {
			return false
		}
		c.waits = time.Time{}
		return true
	})
}
