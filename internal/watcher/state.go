package watcher

import (
	"time"

	"devlog/internal/handover"
	"devlog/internal/pace"
)

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
		Runs: w.pause.runs, Retries: w.pause.Retries, Delay: w.pause.Delay, Repaired: w.report.repaired,
		Last: w.pause.Last, Since: w.report.since, At: w.report.at, SaidAt: w.report.saidAt, Orphaned: w.yielded.orphanedAt,
	}
}

// Follows returns what /dev/log points to if it is a link, and whether another daemon receives
// the container's messages.
func (w *Watcher) Follows() (text string, yielded bool) { return w.text, w.yielded.is }

// resume restores the state, and checks /dev/log at once: changes before the restart caused no
// events.
func (w *Watcher) resume(s *State, now time.Time) {
	w.text, w.watches.problem, w.yielded.is, w.yielded.orphanedAt = s.Text, s.Problem, s.Yielded, s.Orphaned
	w.pause = pause{Repairs: pace.Repairs{Last: s.Last, Delay: s.Delay, Retries: s.Retries}, runs: s.Runs, failed: s.Failed, turn: w.pause.turn}
	w.report = report{repaired: s.Repaired, since: s.Since, at: s.At, unsaid: s.Unsaid, saidAt: s.SaidAt}
	w.due.At = now
}

// StateOf returns the state that Describe has described.
func StateOf(s *handover.Watcher, now time.Time) *State {
	return &State{
		Text: string(s.Target), Failed: string(s.Failed), Problem: string(s.Problem), Yielded: s.Yielded, Unsaid: s.Unsaid,
		Runs: s.Runs, Retries: s.Retries, Delay: s.Delay, Repaired: s.Repaired,
		Last: offWall(s.Last, now), Since: offWall(s.Since, now), At: offWall(s.RepairedAt, now),
		SaidAt: offWall(s.SaidAt, now), Orphaned: offWall(s.FreeAt, now),
	}
}

// Describe describes the state to another program.
func (s State) Describe(now time.Time) *handover.Watcher {
	return &handover.Watcher{
		Target: handover.Text(s.Text), Failed: handover.Text(s.Failed), Problem: handover.Text(s.Problem), Yielded: s.Yielded, Unsaid: s.Unsaid,
		Runs: s.Runs, Retries: s.Retries, Delay: s.Delay, Repaired: s.Repaired,
		Last: onWall(s.Last, now), Since: onWall(s.Since, now), RepairedAt: onWall(s.At, now),
		SaidAt: onWall(s.SaidAt, now), FreeAt: onWall(s.Orphaned, now),
	}
}

// onWall returns a past time for handing over: as the present wall clock would have shown it.
// The clock may have been set since.
func onWall(t, now time.Time) handover.Time {
	if t.IsZero() {
		return 0
	}
	return handover.TimeOf(now.Round(0).Add(-now.Sub(t)))
}

// offWall returns a time from onWall, which from now on does not depend on the wall clock. It
// is never in the future, even if the clock was set back meanwhile: no repair would run until
// then.
func offWall(t handover.Time, now time.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return now.Add(-max(0, now.Round(0).Sub(t.Time())))
}
