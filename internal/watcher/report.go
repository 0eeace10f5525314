package watcher

import (
	"fmt"
	"time"

	"devlog/internal/syslog"
)

const (
	// sayEvery is how often repairs are reported.
	sayEvery = time.Minute
	// forget is the time without a repair after which the count restarts.
	forget = time.Hour
)

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
