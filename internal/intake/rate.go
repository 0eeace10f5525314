package intake

import (
	"slices"
	"time"

	"devlog/internal/batch"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// blockTime is the shortest pause of a socket that exceeds the rate: waking up for each
	// message would cost more than the flood.
	blockTime = 50 * time.Millisecond
	// dropEvery is how often dropped messages are reported.
	dropEvery = 10 * time.Second
)

// bucket holds up to N messages that may be read at once, and is refilled evenly. The zero
// value is full.
type bucket struct {
	full time.Time // when the bucket is full if nothing is taken
}

// interval returns the time in which one message is refilled.
func interval(r syslogconf.Rate) time.Duration { return r.Per / time.Duration(r.N) }

// holds returns how many messages may be taken now.
func (b *bucket) holds(r syslogconf.Rate, now time.Time) int {
	return r.N - int((max(0, b.full.Sub(now))+interval(r)-1)/interval(r))
}

// take takes n messages, even if it does not hold that many.
func (b *bucket) take(r syslogconf.Rate, n int, now time.Time) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(time.Duration(n) * interval(r))
}

// refilled returns when it holds the messages of blockTime, at least one.
func (b *bucket) refilled(r syslogconf.Rate) time.Time {
	n := max(1, min(r.N, int(blockTime/interval(r))))
	return b.full.Add(-time.Duration(r.N-n) * interval(r))
}

// limits are the limits against floods. Each socket has its own bucket, so that one sender
// does not use up the share of others.
type limits struct {
	rate     syslogconf.Rate // zero for no limit
	overflow syslogconf.Overflow
	said     bool // it was reported that senders wait
	unsaid   uint64
	waiting  []*connection // that are not read now
	sayAt    time.Time     // when to report dropped messages; zero for never
}

// allows returns how many queued messages of a socket may be read now, at most batch.Slots. If it
// returns 0, it has paused the socket.
func (i *Intake) allows(s *Socket, now time.Time) int {
	n, until := i.share(s, now)
	if n == 0 {
		// The kernel makes senders wait when the queue is full.
		if i.loop.Pause(s.FD) != nil {
			return batch.Slots // too many messages are better than none
		}
		s.waits = until
		i.schedule()
	}
	return n
}

// mayRead is allows for a connection, which uses its socket's share.
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

// share returns how many messages of a socket may be read now; if none, when to read again.
func (i *Intake) share(s *Socket, now time.Time) (n int, until time.Time) {
	if s == nil || i.limits.overflow != syslogconf.Block {
		return batch.Slots, until
	}
	if until := i.taker.Busy(now); !until.IsZero() {
		i.Throttled++
		return 0, until
	}
	if i.limits.rate.N == 0 {
		return batch.Slots, until
	}
	if n := s.bucket.holds(i.limits.rate, now); n > 0 {
		return min(batch.Slots, n), until
	}
	i.Throttled++
	if !i.limits.said {
		i.limits.said = true
		i.taker.Say(syslog.Notice, "more than "+i.limits.rate.String()+" messages: their senders wait")
	}
	return 0, s.bucket.refilled(i.limits.rate)
}

// admit takes the next message of a socket from its bucket, and returns whether to write it.
// If not, it counts it as dropped.
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

// resumeReading reads sockets and connections again whose pause is over.
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
