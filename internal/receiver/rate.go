package receiver

import (
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

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
func (r *receiver) allows(s *socket, now time.Time) int {
	n, until := r.share(s, now)
	if n == 0 {
		// The kernel stops the senders once the queue is full.
		if unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) != nil {
			return slots // better too many than none for ever
		}
		s.waits = until
	}
	return n
}

// mayRead is allows for a connection, whose messages are of its socket's share.
func (r *receiver) mayRead(c *connection, now time.Time) bool {
	n, until := r.share(c.from, now)
	if n == 0 && unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, c.fd, nil) == nil {
		c.waits = until
		r.limits.waiting = append(r.limits.waiting, c)
		return false
	}
	return true
}

// share is how many messages of a socket may be read now; if none, until when.
func (r *receiver) share(s *socket, now time.Time) (n int, until time.Time) {
	if s == nil || r.limits.rate.N == 0 || r.limits.overflow != syslogconf.Block {
		return slots, until
	}
	if n := s.bucket.holds(r.limits.rate, now); n > 0 {
		return min(slots, n), until
	}
	r.throttled++
	if !r.limits.said {
		r.limits.said = true
		r.say(syslog.Notice, "more than "+r.limits.rate.String()+" messages: their senders wait")
	}
	return 0, s.bucket.refilled(r.limits.rate)
}

// admit takes the next message of a socket out of its bucket, and reports
// whether it is to be written. Otherwise it is counted as dropped.
func (r *receiver) admit(s *socket, now time.Time) bool {
	if s == nil || r.limits.rate.N == 0 {
		return true
	}
	if r.limits.overflow == syslogconf.Drop && s.bucket.holds(r.limits.rate, now) <= 0 {
		r.received++
		r.dropped++
		r.limits.unsaid++
		if r.limits.sayAt.IsZero() {
			r.limits.sayAt = now.Add(dropEvery)
		}
		return false
	}
	s.bucket.take(r.limits.rate, 1, now)
	return true
}

// stepLimits does what is due: it waits for sockets again, and says how many
// messages were dropped.
func (r *receiver) stepLimits(now time.Time) {
	for _, s := range r.sockets {
		if !s.waits.IsZero() && !now.Before(s.waits) && r.watch(s.fd) == nil {
			s.waits = time.Time{}
		}
	}
	r.limits.waiting = slices.DeleteFunc(r.limits.waiting, func(c *connection) bool {
		if r.streams.open[c.fd] != c {
			return true // closed meanwhile
		}
		return !now.Before(c.waits) && r.watch(c.fd) == nil
	})
	if !r.limits.sayAt.IsZero() && !now.Before(r.limits.sayAt) {
		r.sayDropped()
	}
}

func (r *receiver) sayDropped() {
	r.limits.sayAt = time.Time{}
	if n := r.limits.unsaid; n > 0 {
		r.limits.unsaid = 0
		r.say(syslog.Warning, strconv.FormatUint(n, 10)+" messages lost (more than "+r.limits.rate.String()+")")
	}
}

// limitsNext is when stepLimits should be called although nothing happened.
func (r *receiver) limitsNext() (next time.Time) {
	next = r.limits.sayAt
	for _, s := range r.sockets {
		if !s.waits.IsZero() && (next.IsZero() || s.waits.Before(next)) {
			next = s.waits
		}
	}
	for _, c := range r.limits.waiting {
		if next.IsZero() || c.waits.Before(next) {
			next = c.waits
		}
	}
	return next
}

// socketOf returns the socket with the descriptor; nil if there is none.
func (r *receiver) socketOf(fd int) *socket {
	for _, s := range r.sockets {
		if s.fd == fd {
			return s
		}
	}
	return nil
}
