package watcher

import "time"

// State is what a Watcher knows of the past, for its successor.
type State struct {
	Text                              string // what /dev/log pointed to
	Failed, Problem                   string // what was reported
	Yielded, Unsaid                   bool
	Runs, Retries                     int
	Delay                             time.Duration
	Repaired                          uint64
	Last, Since, At, SaidAt, Orphaned time.Time
}

// State returns the Watcher's state.
func (w *Watcher) State() State {
	return State{
		Text: w.text, Failed: w.pause.failed, Problem: w.watches.problem,
		Yielded: w.yielded.is, Unsaid: w.report.unsaid,
		Runs: w.pause.runs, Retries: w.pause.retries, Delay: w.pause.delay, Repaired: w.report.repaired,
		Last: w.pause.last, Since: w.report.since, At: w.report.at, SaidAt: w.report.saidAt, Orphaned: w.yielded.orphanedAt,
	}
}

// Follows returns what /dev/log points to if it is a link, and whether another daemon receives
// the container's messages.
func (w *Watcher) Follows() (text string, yielded bool) { return w.text, w.yielded.is }

// resume restores the state, and checks /dev/log at once: changes before the restart caused no
// events.
func (w *Watcher) resume(s *State, now time.Time) {
	w.text, w.watches.problem, w.yielded.is, w.yielded.orphanedAt = s.Text, s.Problem, s.Yielded, s.Orphaned
	w.pause = pause{runs: s.Runs, last: s.Last, delay: s.Delay, retries: s.Retries, failed: s.Failed}
	w.report = report{repaired: s.Repaired, since: s.Since, at: s.At, unsaid: s.Unsaid, saidAt: s.SaidAt}
	w.due.at = now
}
