package pace

import (
	"math/rand/v2"
	"time"
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

	// firstLook is the shortest time between checks without events.
	firstLook = time.Second
	// LastLook is the longest.
	LastLook = 15 * time.Second

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
)

// Checks is when to check whether a repair is needed.
type Checks struct {
	At   time.Time     // of the next; zero for never
	Last time.Time     // of the last
	pace time.Duration // added to the time until the next
	// strikes is how many replacements of /dev/log count; since is when the last one was forgiven.
	strikes int
	since   time.Time
}

// Replaced counts a replacement of /dev/log.
func (c *Checks) Replaced(now time.Time) {
	c.forgive(now)
	c.strikes = min(c.strikes+1, maxStrikes)
}

// forgive forgives strikes for the time that has passed.
func (c *Checks) forgive(now time.Time) {
	if c.strikes == 0 {
		c.since = now
	}
	n := now.Sub(c.since) / forgive
	c.since = c.since.Add(n * forgive)
	c.strikes = max(c.strikes-int(n), 0)
}

// Prompt returns whether /dev/log is to be repaired at once.
func (c *Checks) Prompt(now time.Time) bool {
	c.forgive(now)
	return c.strikes <= promptly
}

// patience is the time from a change to the earliest check, because of earlier changes.
func (c *Checks) patience(now time.Time) time.Duration {
	if c.Prompt(now) {
		return 0
	}
	return min(firstStrike<<(c.strikes-promptly-1), lastStrike)
}

// Between returns a random time between these, so that watchers differ.
func Between(first, last time.Duration) time.Duration { return first + rand.N(last-first) }

// Schedule schedules a check: soon, or later if earlier checks found nothing. The random part
// differs between watchers. Until the check, each watch wakes the watcher at most once.
func (c *Checks) Schedule(now time.Time, soon bool) {
	if now.Sub(c.Last) > quietPace {
		c.pace = 0
	}
	at := now.Add(Between(checkFixed, checkFixed+checkRandom))
	pace := c.patience(now)
	if !soon {
		pace = max(pace, c.pace)
	}
	if pace > 0 {
		at = at.Add(Between(pace/2, pace*3/2))
	}
	if c.At.IsZero() || soon && at.Before(c.At) {
		c.At = at
	}
}

// Slower delays the next check: this one found nothing.
func (c *Checks) Slower() { c.pace = min(max(2*c.pace, firstPace), lastPace) }

// Clock is when to check without events: soon after the start and after changes, then less and
// less often.
type Clock struct {
	At    time.Time // zero for never
	every time.Duration
}

// Start schedules the first check, after a start or a change.
func (c *Clock) Start(now time.Time) {
	c.every = 0
	c.Next(now)
}

// Next schedules the next check, at a random time that differs between watchers.
func (c *Clock) Next(now time.Time) {
	c.every = min(max(2*c.every, firstLook), LastLook)
	c.At = now.Add(Between(c.every*3/4, c.every*5/4))
}

// Repairs is the time between repairs in a row, and how often a failed one is retried.
type Repairs struct {
	Last    time.Time     // end of the last repair
	Delay   time.Duration // from the end of the last repair to the next
	Retries int
}

// Next returns the earliest time of the next repair.
func (r *Repairs) Next() time.Time { return r.Last.Add(r.Delay) }

// Calm starts a new row if the last repair was long ago.
func (r *Repairs) Calm(now time.Time) {
	if now.Sub(r.Last) > quiet {
		r.Delay, r.Retries = 0, 0
	}
}

// Retry returns whether a failed repair is retried, and counts that.
func (r *Repairs) Retry() bool {
	if r.Exhausted() {
		return false
	}
	r.Retries++
	return true
}

// Exhausted returns whether repairs failed too often in a row to retry them.
func (r *Repairs) Exhausted() bool { return r.Retries >= maxRetries }

// Ended records the end of a repair. idle says that it had nothing to do.
func (r *Repairs) Ended(now time.Time, idle bool) {
	r.Last = now
	limit := lastDelay
	if idle {
		limit = max(idleDelay, r.Delay)
	}
	r.Delay = min(max(2*r.Delay, firstDelay), limit)
}
