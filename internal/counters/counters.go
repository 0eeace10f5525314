// Package counters owns the counts of what became of a receiver's messages, as numbers, as a line
// of the log, and as metrics.
package counters

import (
	"strconv"
	"strings"
	"time"

	"devlog/internal/intake"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

// Counters count what happened to the messages since the start, including those of earlier
// programs. Each received message, and each of the receiver's own, is routed, unrouted,
// dropped, told or read back.
type Counters struct {
	*intake.Counts
	Started  time.Time
	Own      uint64 // messages by the receiver itself
	Routed   uint64 // matched a rule
	Unrouted uint64 // matched no rule
	Told     uint64 // own ones, sent to the container's own daemon or the kernel
	// ReadBack are records of the kernel's log that this receiver itself wrote. Overwritten are
	// records that were lost before they were read; they do not count as received.
	ReadBack, Overwritten      uint64
	Reopens, Repairs, Upgrades uint64
	Fresh                      uint64 // starts without the earlier program's state
	Killed                     uint64 // messages lost when an earlier process was killed
	Lost                       uint64 // messages that outputs of earlier processes have lost
}

// About is what else the log's line and the metrics say of a receiver.
type About struct {
	Name, Version string
	Rate          syslogconf.Rate
	Connections   int  // -1 without a stream socket
	Kernel        bool // it reads the kernel's log
	Routes        []router.Route
}

// Tally is the counters in a form that can be in memory that outlives the process.
type Tally [24]uint64

// names are the counters' names in a description, in the order of list. Only append to them.
var names = [...]string{"received", "bytes", "own", "routed", "unrouted", "dropped", "told", "cut", "throttled", "highWater",
	"evicted", "wrong", "readBack", "overwritten", "reopens", "repairs", "upgrades", "fresh", "killed", "lost"}

func (c *Counters) list() [len(names)]*uint64 {
	return [...]*uint64{&c.Received, &c.Bytes, &c.Own, &c.Routed, &c.Unrouted, &c.Dropped, &c.Told, &c.Cut, &c.Throttled, &c.HighWater,
		&c.Evicted, &c.Wrong, &c.ReadBack, &c.Overwritten, &c.Reopens, &c.Repairs, &c.Upgrades, &c.Fresh, &c.Killed, &c.Lost}
}

// Tally stores the counters, and what the outputs have lost; their other counts are left out.
func (c *Counters) Tally(t *Tally, routes []router.Route) {
	for i, n := range c.list() {
		t[i] = *n
	}
	t[len(names)-1] += lostBy(routes)
	t[len(t)-1] = uint64(c.Started.UnixNano())
}

// Restore continues with the counters of an earlier process, with which these messages were lost: ones
// that it had read, and others that it had counted as received.
func (c *Counters) Restore(t *Tally, read, received uint64) {
	for i, n := range c.list() {
		*n += t[i]
	}
	c.Started = time.Unix(0, int64(t[len(t)-1]))
	c.Received += read
	c.Killed += read + received
}

// Describe adds the counters to a description, for Resume.
func (c *Counters) Describe(d map[string]uint64) {
	for i, n := range c.list() {
		d[names[i]] = *n
	}
}

// Resume continues with the counters that were described.
func (c *Counters) Resume(d map[string]uint64) {
	for i, n := range c.list() {
		*n = d[names[i]]
	}
}

// lostBy returns how many messages the outputs have lost.
func lostBy(routes []router.Route) (n uint64) {
	for _, route := range routes {
		for _, l := range route.Out.Counts().Lost {
			n += l.N
		}
	}
	return n
}

// Route counts a message. matched says whether a rule matched.
func (c *Counters) Route(matched bool) {
	if matched {
		c.Routed++
	} else {
		c.Unrouted++
	}
}

// Totals returns how many messages were received, and how many of them are lost.
func (c *Counters) Totals(routes []router.Route) (received, lost uint64) {
	return c.Received, c.Dropped + c.Killed + c.Lost + lostBy(routes)
}

// Line returns what happened to the messages. It leaves out unusual counts that are zero.
func (c *Counters) Line(a About) string {
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
	number("received ", c.Received)
	number(", own ", c.Own)
	number(", matched by a rule ", c.Routed)
	number(", by no rule ", c.Unrouted)
	some(", told the container's daemon or the kernel ", c.Told)
	if c.Dropped > 0 {
		number(", lost ", c.Dropped)
		b.WriteString(" (more than " + a.Rate.String() + ")")
	}
	some(", lost when devlogd was killed ", c.Killed)
	some(", lost before it was restarted ", c.Lost)
	number(", cut ", c.Cut)
	some(", not readable as entries of the journal ", c.Wrong)
	if a.Connections >= 0 {
		number(", connections ", uint64(a.Connections))
		number(", closed for others ", c.Evicted)
	}
	if a.Kernel || c.ReadBack > 0 { // an earlier program may have read it
		number(", read back from the kernel's log ", c.ReadBack)
		number(", lost there ", c.Overwritten)
	}
	some(", senders waited ", c.Throttled)
	some(", repairs ", c.Repairs)
	some(", upgrades ", c.Upgrades)
	some(", starts without the state before ", c.Fresh)
	for _, route := range a.Routes {
		counts := route.Out.Counts()
		b.WriteString("; " + route.Out.Name())
		number(": written ", counts.Written)
		number(", pending ", counts.Pending)
		if t, ok := route.Out.(*router.MeteredOutput); ok {
			some(", repeated ", t.Repeated)
		}
		for _, l := range counts.Lost {
			number(", lost ", l.N)
			b.WriteString(" (" + l.Reason + ")")
		}
	}
	return b.String()
}
