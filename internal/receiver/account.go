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
	// readBack are records of the kernel's log that this receiver itself wrote there.
	// overwritten are records that were lost before they were read; they do not count as
	// received.
	readBack, overwritten uint64

	reopens  uint64
	repairs  uint64
	upgrades uint64
	fresh    uint64 // starts without the earlier program's state
	killed   uint64 // messages lost when an earlier process was killed
}

// named returns the counters by their names in a description.
func (c *counters) named() map[string]*uint64 {
	return map[string]*uint64{
		"received": &c.Received, "bytes": &c.Bytes, "own": &c.own, "routed": &c.routed, "unrouted": &c.unrouted,
		"dropped": &c.Dropped, "told": &c.told, "cut": &c.Cut, "throttled": &c.Throttled, "highWater": &c.HighWater,
		"evicted": &c.Evicted, "wrong": &c.Wrong, "readBack": &c.readBack, "overwritten": &c.overwritten,
		"reopens": &c.reopens, "repairs": &c.repairs, "upgrades": &c.upgrades, "fresh": &c.fresh, "killed": &c.killed,
	}
}

// countRouted counts a message. matched says whether a rule matched.
func (c *counters) countRouted(matched bool) {
	if matched {
		c.routed++
	} else {
		c.unrouted++
	}
}

// Lose counts messages that were lost when an earlier process was killed.
func (c *counters) Lose(n int) { c.killed += uint64(n) }

// Totals returns how many messages were received, and how many of them are lost.
func (r *Receiver) Totals() (received, lost uint64) {
	lost = r.Dropped + r.killed
	for _, route := range r.router.Routes {
		for _, l := range route.Out.Counts().Lost {
			lost += l.N
		}
	}
	return r.Received + r.killed, lost
}

// Account logs what happened to the messages. It leaves out counts that are zero and usually
// are.
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
