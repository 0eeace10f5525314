package receiver

import (
	"strconv"
	"strings"
	"time"

	"devlog/internal/intake"
	"devlog/internal/router"
	"devlog/internal/syslog"
)

// counters count what happened to the messages since the start, including those of earlier
// programs. Each received message, and each of the receiver's own, is routed, unrouted,
// dropped, told or read back.
type counters struct {
	*intake.Counts
	started  time.Time
	own      uint64 // messages by the receiver itself
	routed   uint64 // matched a rule
	unrouted uint64 // matched no rule
	told     uint64 // own ones, sent to the container's own daemon or the kernel
	// readBack are records of the kernel's log that this receiver itself wrote. overwritten are
	// records that were lost before they were read; they do not count as received.
	readBack, overwritten      uint64
	reopens, repairs, upgrades uint64
	fresh                      uint64 // starts without the earlier program's state
	killed                     uint64 // messages lost when an earlier process was killed
	lost                       uint64 // messages that outputs of earlier processes have lost
}

// Tally is the counters in a form that can be in memory that outlives the process.
type Tally [24]uint64

// counterNames are the counters' names in a description, in the order of list. Only append to them.
var counterNames = [...]string{"received", "bytes", "own", "routed", "unrouted", "dropped", "told", "cut", "throttled", "highWater",
	"evicted", "wrong", "readBack", "overwritten", "reopens", "repairs", "upgrades", "fresh", "killed", "lost"}

func (c *counters) list() [len(counterNames)]*uint64 {
	return [...]*uint64{&c.Received, &c.Bytes, &c.own, &c.routed, &c.unrouted, &c.Dropped, &c.told, &c.Cut, &c.Throttled, &c.HighWater,
		&c.Evicted, &c.Wrong, &c.readBack, &c.overwritten, &c.reopens, &c.repairs, &c.upgrades, &c.fresh, &c.killed, &c.lost}
}

// Tally stores the counters, and what the outputs have lost; their other counts are left out.
func (r *Receiver) Tally(t *Tally) {
	for i, c := range r.list() {
		t[i] = *c
	}
	t[len(counterNames)-1] += r.lostByOutputs()
	t[len(t)-1] = uint64(r.started.UnixNano())
}

// Restore continues with the counters of an earlier process.
func (r *Receiver) Restore(t *Tally) {
	for i, c := range r.list() {
		*c += t[i]
	}
	r.started = time.Unix(0, int64(t[len(t)-1]))
}

// lostByOutputs returns how many messages the outputs have lost.
func (r *Receiver) lostByOutputs() (n uint64) {
	for _, route := range r.router.Routes {
		for _, l := range route.Out.Counts().Lost {
			n += l.N
		}
	}
	return n
}

// countRouted counts a message. matched says whether a rule matched.
func (c *counters) countRouted(matched bool) {
	if matched {
		c.routed++
	} else {
		c.unrouted++
	}
}

// Lose counts messages lost in a kill: read ones, and others already counted as received.
func (c *counters) Lose(read, received uint64) {
	c.Received += read
	c.killed += read + received
}

// Totals returns how many messages were received, and how many of them are lost.
func (r *Receiver) Totals() (received, lost uint64) {
	return r.Received, r.Dropped + r.killed + r.lost + r.lostByOutputs()
}

// Account logs what happened to the messages. It leaves out unusual counts that are zero.
func (r *Receiver) Account() {
	var b strings.Builder
	number := func(before string, n uint64) {
		b.WriteString(before)
		b.WriteString(strconv.FormatUint(n, 10))
	}
	some := func(before string, n uint64) {
		if n > 0 {
			number(before, n)
		}
	}
	number("received ", r.Received)
	number(", own ", r.own)
	number(", matched by a rule ", r.routed)
	number(", by no rule ", r.unrouted)
	some(", told the container's daemon or the kernel ", r.told)
	if r.Dropped > 0 {
		number(", lost ", r.Dropped)
		b.WriteString(" (more than " + r.config.Limit.Rate.String() + ")")
	}
	some(", lost when devlogd was killed ", r.killed)
	some(", lost before it was restarted ", r.lost)
	number(", cut ", r.Cut)
	some(", not readable as entries of the journal ", r.Wrong)
	if n := r.intake.Connections(); n >= 0 {
		number(", connections ", uint64(n))
		number(", closed for others ", r.Evicted)
	}
	if r.kernel != nil || r.readBack > 0 { // an earlier program may have read it
		number(", read back from the kernel's log ", r.readBack)
		number(", lost there ", r.overwritten)
	}
	some(", senders waited ", r.Throttled)
	some(", repairs ", r.repairs)
	some(", upgrades ", r.upgrades)
	some(", starts without the state before ", r.fresh)
	for _, route := range r.router.Routes {
		c := route.Out.Counts()
		b.WriteString("; " + route.Out.Name())
		number(": written ", c.Written)
		number(", pending ", c.Pending)
		if t, ok := route.Out.(*router.MeteredOutput); ok {
			some(", repeated ", t.Repeated)
		}
		for _, l := range c.Lost {
			number(", lost ", l.N)
			b.WriteString(" (" + l.Reason + ")")
		}
	}
	r.Say(syslog.Info, b.String())
}
