package receiver

import (
	"strconv"
	"strings"
	"time"

	"devlog/internal/router"
	"devlog/internal/syslog"
)

// counters are the account of what became of the messages since the start, also
// that of a program before this one: of those received and the receiver's own,
// each was routed, unrouted, dropped, told or read back.
type counters struct {
	started   time.Time
	received  uint64
	bytes     uint64 // of those received and not dropped
	own       uint64 // messages by the receiver itself
	routed    uint64 // matched a rule
	unrouted  uint64 // matched no rule
	dropped   uint64 // were more than the rate
	told      uint64 // own ones, to the container's own daemon or the kernel
	cut       uint64 // were longer than a slot
	throttled uint64 // times that senders had to wait
	highWater uint64 // the most messages that were read at one go
	evicted   uint64 // connections that were closed for others
	// Of records of the kernel's log, these were written there by this receiver,
	// and these are not among those received.
	readBack, overwritten uint64

	reopens  uint64
	repairs  uint64
	upgrades uint64
	fresh    uint64 // starts without what the program before knew
}

// named are the counters by the names that a description has.
func (c *counters) named() map[string]*uint64 {
	return map[string]*uint64{
		"received": &c.received, "bytes": &c.bytes, "own": &c.own, "routed": &c.routed, "unrouted": &c.unrouted,
		"dropped": &c.dropped, "told": &c.told, "cut": &c.cut, "throttled": &c.throttled, "highWater": &c.highWater,
		"evicted": &c.evicted, "readBack": &c.readBack, "overwritten": &c.overwritten,
		"reopens": &c.reopens, "repairs": &c.repairs, "upgrades": &c.upgrades, "fresh": &c.fresh,
	}
}

// countRouted counts a message that did or did not match a rule.
func (c *counters) countRouted(matched bool) {
	if matched {
		c.routed++
	} else {
		c.unrouted++
	}
}

// account writes what became of the messages as a message. What is zero and
// mostly is so is left out.
func (r *receiver) account() {
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
	number("received ", r.received)
	number(", own ", r.own)
	number(", matched by a rule ", r.routed)
	number(", by no rule ", r.unrouted)
	some(", told the container's daemon or the kernel ", r.told)
	if r.dropped > 0 {
		number(", lost ", r.dropped)
		b.WriteString(" (more than " + r.limits.rate.String() + ")")
	}
	number(", cut ", r.cut)
	if r.streams != nil {
		number(", connections ", uint64(len(r.streams.open)))
		number(", closed for others ", r.evicted)
	}
	if r.kernel != nil || r.readBack > 0 { // a program before this one may have read it
		number(", read back from the kernel's log ", r.readBack)
		number(", lost there ", r.overwritten)
	}
	some(", senders waited ", r.throttled)
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
	r.say(syslog.Info, b.String())
}
