package receiver

import (
	"time"

	"devlog/internal/counters"
	"devlog/internal/metrics"
	"devlog/internal/syslog"
)

// metricsEvery is how often the metrics are written.
const metricsEvery = 10 * time.Second

// metricsFile is the file with the counters, in Prometheus' text format.
type metricsFile struct {
	metrics.File
	problem string    // why it could not be written, as reported
	written time.Time // last time it was, or should have been
	next    time.Time // when to write changes; zero for never
	sum     uint64    // of the counters then
}

// stepMetrics writes the metrics if they changed and metricsEvery has passed. Without changes
// nothing wakes up.
func (r *Receiver) stepMetrics(now time.Time) {
	m := &r.metrics
	if m.Path == "" {
		return
	}
	if m.next.IsZero() && (m.written.IsZero() || m.sum != r.counts.Sum(r.router.Routes)) {
		m.next = m.written.Add(metricsEvery)
	}
	if m.next.IsZero() || now.Before(m.next) {
		return
	}
	m.next, m.written = time.Time{}, now
	if err := m.Write(r.counts.AppendMetrics(m.Buffer(), r.about())); err != nil && err.Error() != m.problem {
		m.problem = err.Error()
		r.Say(syslog.Warning, "cannot write the metrics: "+m.problem)
	} else if err == nil {
		m.problem = ""
	}
	m.sum = r.counts.Sum(r.router.Routes)
}

// finishMetrics writes the metrics at the end, with the last losses.
func (r *Receiver) finishMetrics() {
	if m := &r.metrics; !m.written.IsZero() { // otherwise it was never ready
		_ = m.Write(r.counts.AppendMetrics(m.Buffer(), r.about())) // too late to report an error
	}
}

// about returns what the metrics and Account say besides the counters.
func (r *Receiver) about() counters.About {
	return counters.About{
		Name: string(r.router.Host), Version: r.process.Version, Rate: r.config.Limit.Rate,
		Connections: r.intake.Connections(), Kernel: r.kernel != nil, Routes: r.router.Routes,
	}
}

// Account logs what happened to the messages.
func (r *Receiver) Account() { r.Say(syslog.Info, r.counts.Line(r.about())) }

// Totals returns how many messages were received, and how many of them are lost.
func (r *Receiver) Totals() (received, lost uint64) { return r.counts.Totals(r.router.Routes) }

// Tally stores the counters in memory that outlives the process.
func (r *Receiver) Tally(t *counters.Tally) { r.counts.Tally(t, r.router.Routes) }

// Restore continues with the counters of an earlier process, with which these were lost: messages
// that it had read, and others that it had counted as received.
func (r *Receiver) Restore(t *counters.Tally, read, received uint64) {
	r.counts.Restore(t, read, received)
}
