// Package pace owns how often a watcher checks and repairs /dev/log, and how much processor time
// that may take: who replaces the name decides how many repairs are needed, but not what they
// cost.
package pace

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// freeRepairs is how many repairs there may be at any time, each of the processor time
	// that one takes here: a machine of 20 times the usual 4 ms repairs as often as others.
	// After that looks and repairs may take 1/share of the time: with 100 receivers, 1% of
	// a processor.
	freeRepairs = 200
	cheapRepair = 5 * time.Millisecond
	dearRepair  = 100 * time.Millisecond
	share       = 10_000
	// LongestWait is the longest time for which the budget delays a look: in it, a repair of
	// 4 ms is paid back.
	LongestWait = 40 * time.Second
)

// Budget limits the processor time of looks and repairs. The zero value has spent nothing.
type Budget struct {
	spent time.Duration // what is not paid back yet
	at    time.Time     // the time of that
	run   time.Duration // what the last repair took
}

// Repaired spends what a repair took.
func (b *Budget) Repaired(now time.Time, cost time.Duration) {
	b.run = cost
	b.Spend(now, cost)
}

// credit is the processor time that looks and repairs may take at any time.
func (b *Budget) credit() time.Duration {
	return freeRepairs * min(max(b.run, cheapRepair), dearRepair)
}

// Spend spends processor time, and pays back for the time since the last call.
func (b *Budget) Spend(now time.Time, cost time.Duration) {
	back := max(now.Sub(b.at), 0) / share
	b.spent, b.at = max(b.spent-back, 0)+cost, now
}

// Next returns the time of the next look; zero for now.
func (b *Budget) Next() time.Time {
	over := b.spent - b.credit()
	if over <= 0 {
		return time.Time{}
	}
	return b.at.Add(min(over*share, LongestWait))
}

// ThreadTime returns the processor time of this thread; 0 if it is unknown
// (CLOCK_THREAD_CPUTIME_ID, clock_gettime(2)).
func ThreadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
