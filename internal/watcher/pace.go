package watcher

import (
	"fmt"
	"math/rand/v2"
	"time"

	"devlog/internal/syslog"
)

const (
	// settleFixed and settleRandom are how long what changes is left to settle.
	// Every container's watcher sees the change of a shared /dev: the first one to
	// repair it spares the others the work.
	settleFixed  = 20 * time.Millisecond
	settleRandom = 30 * time.Millisecond
	// firstPace and lastPace are how much longer changes are left to settle that
	// keep coming and need no repair. Names in a shared /dev are anybody's to make:
	// a hundred watchers that look every three seconds take half a percent of a
	// processor.
	firstPace = 25 * time.Millisecond
	lastPace  = 3 * time.Second
	// quietPace is the time without a look after which the next one is prompt again.
	quietPace = 30 * time.Second
	// maxEarly is how often between two looks the watches are renewed at once.
	maxEarly = 3

	// firstLook and lastLook are the shortest and the longest time between two looks
	// where no event tells of a change.
	firstLook = time.Second
	lastLook  = 15 * time.Second

	// firstDelay and lastDelay are the shortest and the longest time between two
	// repairs of those that follow each other.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	// idleDelay is the longest time after repairs that found nothing to do: where
	// many share a /dev, mostly another's was faster.
	idleDelay = time.Second
	// quiet is the time after which repairs do not follow each other.
	quiet = time.Minute
	// maxRetries is how often a failed repair is tried again by the clock.
	maxRetries = 5

	// sayEvery is the time between two messages about repairs.
	sayEvery = time.Minute
	// forget is the time without a repair after which their count begins again.
	forget = time.Hour
)

// due is when to look whether a repair is needed.
type due struct {
	at   time.Time // zero is never
	last time.Time
	pace time.Duration // added to the time until the next look
}

// settle has the watcher look at what has changed: soon, or the later the more often
// there was no reason to, and each watcher at a time of its own. Until then each watch
// wakes it up once at most.
func (d *due) settle(now time.Time, soon bool) {
	if now.Sub(d.last) > quietPace {
		d.pace = 0
	}
	at := now.Add(settleFixed + rand.N(settleRandom))
	if !soon && d.pace > 0 {
		at = at.Add(d.pace/2 + rand.N(d.pace))
	}
	if d.at.IsZero() || soon && at.Before(d.at) {
		d.at = at
	}
}

// slower has the next look take longer: this one had no reason.
func (d *due) slower() { d.pace = min(max(2*d.pace, firstPace), lastPace) }

// clock is when to look where no event tells of a change: soon after the start and after
// changes, then ever more rarely.
type clock struct {
	only  bool      // /dev is the container's own, and nothing is watched
	at    time.Time // zero is never
	every time.Duration
}

func (c *clock) start(now time.Time) {
	c.every = 0
	c.next(now)
}

// next sets the time of the next look, for each watcher another one.
func (c *clock) next(now time.Time) {
	c.every = min(max(2*c.every, firstLook), lastLook)
	c.at = now.Add(c.every*3/4 + rand.N(c.every/2))
}

// pause is the time between repairs that follow each other.
type pause struct {
	runs    int
	last    time.Time     // end of the last repair
	delay   time.Duration // from then to the next one
	retries int
	failed  string // why no repair is possible, as was said
}

// ended notes that a repair has ended. One that was idle had nothing to do.
func (p *pause) ended(now time.Time, idle bool) {
	p.last = now
	limit := lastDelay
	if idle {
		limit = max(idleDelay, p.delay)
	}
	p.delay = min(max(2*p.delay, firstDelay), limit)
}

// report is what is to be said about repairs.
type report struct {
	repaired uint64
	since    time.Time // the first of these
	at       time.Time // the last of these
	unsaid   bool      // there were some since the last message
	saidAt   time.Time
}

// countRepaired counts a repair and says so, at most once a minute.
func (w *Watcher) countRepaired(now time.Time) {
	r := &w.report
	if now.Sub(r.at) > forget {
		r.repaired = 0
	}
	r.at = now
	if r.repaired == 0 {
		r.since = now
	}
	r.repaired++
	w.owner.Repaired()
	r.unsaid = true
	if r.saidAt.IsZero() || now.Sub(r.saidAt) >= sayEvery {
		w.sayRepaired(now)
	}
}

func (w *Watcher) sayRepaired(now time.Time) {
	r := &w.report
	r.unsaid, r.saidAt = false, now
	text := "/dev/log was replaced; repaired"
	if r.repaired > 1 {
		text += fmt.Sprintf(" (%d times since %s)", r.repaired, r.since.Format("15:04"))
	}
	w.owner.Say(syslog.Notice, text)
}
