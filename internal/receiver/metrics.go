package receiver

import (
	"time"

	"devlog/internal/metrics"
	"devlog/internal/router"
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
	if m.next.IsZero() && (m.written.IsZero() || m.sum != r.metricsSum()) {
		m.next = m.written.Add(metricsEvery)
	}
	if m.next.IsZero() || now.Before(m.next) {
		return
	}
	m.next, m.written = time.Time{}, now
	if err := m.Write(r.appendMetrics(m.Buffer())); err != nil && err.Error() != m.problem {
		m.problem = err.Error()
		r.Say(syslog.Warning, "cannot write the metrics: "+m.problem)
	} else if err == nil {
		m.problem = ""
	}
	m.sum = r.metricsSum()
}

// finishMetrics writes the metrics at the end, with the last losses.
func (r *Receiver) finishMetrics() {
	if m := &r.metrics; !m.written.IsZero() { // otherwise it was never ready
		_ = m.Write(r.appendMetrics(m.Buffer())) // too late to report an error
	}
}

// metricsSum changes whenever a metric does.
func (r *Receiver) metricsSum() uint64 {
	sum := r.Received + r.own + r.Throttled + r.Evicted + r.Wrong + r.overwritten + r.reopens + r.repairs + r.upgrades + r.fresh + r.killed
	for _, route := range r.router.Routes {
		c := route.Out.Counts()
		sum += c.Written
		for _, l := range c.Lost {
			sum += 2 * l.N // a message can move from written to lost, which must change the sum
		}
	}
	return sum
}

// appendMetrics appends all metrics.
func (r *Receiver) appendMetrics(dst []byte) []byte {
	t := metrics.NewText(dst, "devlogd", string(r.router.Host))
	t.Head("build_info", "gauge", "The program's version.")
	t.Sample("build_info", 1, metrics.Label{"version", r.process.Version})
	t.Head("start_time_seconds", "gauge", "When the receiver started, since the epoch. An upgrade is no start.")
	t.Time("start_time_seconds", r.started)
	t.One("received_messages_total", "counter", "Messages read, from sockets and the kernel's log.", r.Received)
	t.One("received_bytes_total", "counter", "Bytes of the messages read and not dropped.", r.Bytes)
	t.One("own_messages_total", "counter", "Messages by the receiver itself.", r.own)
	t.One("routed_messages_total", "counter", "Messages that match a rule.", r.routed)
	t.One("unrouted_messages_total", "counter", "Messages that match no rule.", r.unrouted)
	t.One("told_messages_total", "counter", "Messages by the receiver itself to a daemon of the container's own.", r.told)
	t.Head("dropped_messages_total", "counter", "Messages read and not written to any output.")
	t.Sample("dropped_messages_total", r.Dropped, metrics.Label{"reason", "rate"})
	t.Sample("dropped_messages_total", r.killed, metrics.Label{"reason", "killed"})
	t.Sample("dropped_messages_total", r.lost, metrics.Label{"reason", "before restart"})
	t.One("cut_messages_total", "counter", "Messages that were longer than what is read of one.", r.Cut)
	t.One("read_back_messages_total", "counter", "Messages by the receiver itself that it read in the kernel's log.", r.readBack)
	t.One("kernel_lost_records_total", "counter", "Records of the kernel's log that were overwritten before they could be read.", r.overwritten)
	t.One("closed_connections_total", "counter", "Connections that were closed to have room for others.", r.Evicted)
	t.One("throttled_total", "counter", "Times that senders had to wait because of the rate.", r.Throttled)
	t.One("journal_entries_unreadable_total", "counter", "Entries of the journal's protocol that could not be read.", r.Wrong)
	t.One("queue_high_water_messages", "gauge", "The most messages that were read at one go.", r.HighWater)
	t.One("reopens_total", "counter", "Times that the outputs were reopened.", r.reopens)
	t.One("repairs_total", "counter", "Times that /dev/log was repaired again.", r.repairs)
	t.One("upgrades_total", "counter", "Times that the program was replaced.", r.upgrades)
	t.One("fresh_starts_total", "counter", "Starts without the state of the previous program, which could not be read.", r.fresh)
	for _, m := range outputMetrics {
		t.Head(m.name, m.kind, m.help)
		for _, route := range r.router.Routes {
			m.samples(t, m.name, route)
		}
	}
	return t.Bytes()
}

// outputMetrics are the metrics with samples for each output.
var outputMetrics = []struct {
	name, kind, help string
	samples          func(*metrics.Text, string, router.Route)
}{
	{"output_messages_total", "counter", "Messages for the output: written, pending, lost or repeated.", ofMeter(func(p *router.MeteredOutput) uint64 { return p.Added })},
	{"output_bytes_total", "counter", "Bytes of the messages for the output.", ofMeter(func(p *router.MeteredOutput) uint64 { return p.Bytes })},
	{"output_repeated_messages_total", "counter", "Messages that were only counted as repeats.", ofMeter(func(p *router.MeteredOutput) uint64 { return p.Repeated })},
	{"output_pending_high_water_bytes", "gauge", "The most bytes that could not be written yet.", ofMeter(func(p *router.MeteredOutput) uint64 { return uint64(p.High) })},
	{"output_written_messages_total", "counter", "Messages written.", func(t *metrics.Text, name string, o router.Route) {
		t.Sample(name, o.Out.Counts().Written, metrics.Label{"output", o.Out.Name()})
	}},
	{"output_pending_messages", "gauge", "Messages that could not be written yet.", func(t *metrics.Text, name string, o router.Route) {
		t.Sample(name, o.Out.Counts().Pending, metrics.Label{"output", o.Out.Name()})
	}},
	{"output_lost_messages_total", "counter", "Messages lost.", func(t *metrics.Text, name string, o router.Route) {
		for _, l := range o.Out.Counts().Lost {
			t.Sample(name, l.N, metrics.Label{"output", o.Out.Name()}, metrics.Label{"reason", l.Reason})
		}
	}},
}

func ofMeter(value func(*router.MeteredOutput) uint64) func(*metrics.Text, string, router.Route) {
	return func(t *metrics.Text, name string, o router.Route) {
		if p, ok := o.Out.(*router.MeteredOutput); ok {
			t.Sample(name, value(p), metrics.Label{"output", o.Out.Name()})
		}
	}
}
