package watcher

import (
	"fmt"
	"math/rand/v2"
	"time"

	"devlog/internal/syslog"
)

const (
	// checkFixed and checkRandom are the time from a change to a check. Every container's
	// watcher sees a change of a shared /dev, and the first to repair it saves the others the
	// work.
	checkFixed  = 20 * time.Millisecond
	checkRandom = 30 * time.Millisecond
	// firstPace and lastPace are added to that while changes keep coming and need no repair.
	// Any container can change names in a shared /dev: a hundred watchers that check every
	// three seconds take half a percent of a processor.
	firstPace = 25 * time.Millisecond
	lastPace  = 3 * time.Second
	// quietPace is the time without a check after which the next is prompt again.
	quietPace = 30 * time.Second
	// promptly is how many replacements of /dev/log in a row, by repairs too, are repaired at
	// once. Each further one doubles the time until the next check, from firstStrike to lastStrike,
	// and then only what two checks find unchanged is repaired. Each forgive cancels one.
	promptly    = 8
	maxStrikes  = 16
	firstStrike = 100 * time.Millisecond
	lastStrike  = 10 * time.Second
	forgive     = 30 * time.Second
	// maxEarly is how often the watches are renewed at once between two checks.
	maxEarly = 3

	// firstLook and lastLook are the shortest and longest time between checks without events.
	firstLook = time.Second
	lastLook  = 15 * time.Second

	// firstDelay and lastDelay are the shortest and longest time between repairs in a row.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	// idleDelay is the longest time after repairs that had nothing to do: where many
	// containers share a /dev, another watcher was usually faster.
	idleDelay = time.Second
	// quiet is the time after which a repair no longer counts as one in a row.
	quiet = time.Minute
	// maxRetries is how often a failed repair is retried on a timer.
	maxRetries = 5

	// sayEvery is how often repairs are reported.
	sayEvery = time.Minute
	// forget is the time without a repair after which the count restarts.
	forget = time.Hour
)

// due is when to check whether a repair is needed.
type due struct {
	at   time.Time // zero for never
	last time.Time
	pace time.Duration // added to the time until the next check
	// strikes is how many replacements of /dev/log count; since is when the last one was forgiven.
	strikes int
	since   time.Time
}

// replaced counts a replacement of /dev/log.
func (d *due) replaced(now time.Time) {
	d.forgive(now)
	d.strikes = min(d.strikes+1, maxStrikes)
}

// forgive forgives strikes for the time that has passed.
func (d *due) forgive(now time.Time) {
	if d.strikes == 0 {
		d.since = now
	}
	n := now.Sub(d.since) / forgive
	d.since = d.since.Add(n * forgive)
	d.strikes = max(d.strikes-int(n), 0)
}

// prompt returns whether /dev/log is to be repaired at once.
func (d *due) prompt(now time.Time) bool {
	d.forgive(now)
	return d.strikes <= promptly
}

// patience is the time from a change to the earliest check, because of earlier changes.
func (d *due) patience(now time.Time) time.Duration {
	if d.prompt(now) {
		return 0
	}
	return min(firstStrike<<(d.strikes-promptly-1), lastStrike)
}

// between returns a random time between these, so that watchers differ.
func between(first, last time.Duration) time.Duration { return first + rand.N(last-first) }

// schedule schedules a check: soon, or later if earlier checks found nothing. The random part
// differs between watchers. Until the check, each watch wakes the watcher at most once.
func (d *due) schedule(now time.Time, soon bool) {
	if now.Sub(d.last) > quietPace {
		d.pace = 0
	}
	at := now.Add(between(checkFixed, checkFixed+checkRandom))
	pace := d.patience(now)
	if !soon {
		pace = max(pace, d.pace)
	}
	if pace > 0 {
		at = at.Add(between(pace/2, pace*3/2))
	}
	if d.at.IsZero() || soon && at.Before(d.at) {
		d.at = at
	}
}

// slower delays the next check: this one found nothing.
func (d *due) slower() { d.pace = min(max(2*d.pace, firstPace), lastPace) }

// clock is when to check without events: soon after the start and after changes, then less and
// less often.
type clock struct {
	only  bool      // nothing is watched, because /dev is the container's own
	at    time.Time // zero for never
	every time.Duration
}

func (c *clock) start(now time.Time) {
	c.every = 0
	c.next(now)
}

// next schedules the next check, at a random time that differs between watchers.
func (c *clock) next(now time.Time) {
	c.every = min(max(2*c.every, firstLook), lastLook)
	c.at = now.Add(between(c.every*3/4, c.every*5/4))
}

// pause is the time between repairs in a row.
type pause struct {
	runs    int
	last    time.Time     // end of the last repair
	delay   time.Duration // from the end of the last repair to the next
	retries int
	failed  string // why no repair is possible, as reported
	turn    turn
}

// ended records the end of a repair. idle says that it had nothing to do.
func (p *pause) ended(now time.Time, idle bool) {
	p.last = now
	limit := lastDelay
	if idle {
		limit = max(idleDelay, p.delay)
	}
	p.delay = min(max(2*p.delay, firstDelay), limit)
}

// report is what to report about repairs.
type report struct {
	repaired uint64
	since    time.Time // the time of the first one
	at       time.Time // the time of the last one
	unsaid   bool      // some came since the last report
	saidAt   time.Time
}

// countRepaired counts a repair. It reports repairs at most once a minute.
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
