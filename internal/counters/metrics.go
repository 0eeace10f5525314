package counters

import (
	"devlog/internal/metrics"
	"devlog/internal/router"
)

// Sum changes whenever a metric does.
func (c *Counters) Sum(routes []router.Route) uint64 {
	sum := c.Received + c.Own + c.Throttled + c.Evicted + c.Wrong + c.Overwritten + c.Reopens + c.Repairs + c.Upgrades + c.Fresh + c.Killed
	for _, route := range routes {
		counts := route.Out.Counts()
		sum += counts.Written
		for _, l := range counts.Lost {
			sum += 2 * l.N // a message can move from written to lost, which must change the sum
		}
	}
	return sum
}

// AppendMetrics appends all metrics.
func (c *Counters) AppendMetrics(dst []byte, a About) []byte {
	t := metrics.NewText(dst, "devlogd", a.Name)
	t.Head("build_info", "gauge", "The program's version.")
	t.Sample("build_info", 1, metrics.Label{"version", a.Version})
	t.Head("start_time_seconds", "gauge", "When the receiver started, since the epoch. An upgrade is no start.")
	t.Time("start_time_seconds", c.Started)
	t.One("received_messages_total", "counter", "Messages read, from sockets and the kernel's log.", c.Received)
	t.One("received_bytes_total", "counter", "Bytes of the messages read and not dropped.", c.Bytes)
	t.One("own_messages_total", "counter", "Messages by the receiver itself.", c.Own)
	t.One("routed_messages_total", "counter", "Messages that match a rule.", c.Routed)
	t.One("unrouted_messages_total", "counter", "Messages that match no rule.", c.Unrouted)
	t.One("told_messages_total", "counter", "Messages by the receiver itself to a daemon of the container's own.", c.Told)
	t.Head("dropped_messages_total", "counter", "Messages read and not written to any output.")
	t.Sample("dropped_messages_total", c.Dropped, metrics.Label{"reason", "rate"})
	t.Sample("dropped_messages_total", c.Killed, metrics.Label{"reason", "killed"})
	t.Sample("dropped_messages_total", c.Lost, metrics.Label{"reason", "before restart"})
	t.One("cut_messages_total", "counter", "Messages that were longer than what is read of one.", c.Cut)
	t.One("read_back_messages_total", "counter", "Messages by the receiver itself that it read in the kernel's log.", c.ReadBack)
	t.One("kernel_lost_records_total", "counter", "Records of the kernel's log that were overwritten before they could be read.", c.Overwritten)
	t.One("closed_connections_total", "counter", "Connections that were closed to have room for others.", c.Evicted)
	t.One("throttled_total", "counter", "Times that senders had to wait because of the rate.", c.Throttled)
	t.One("journal_entries_unreadable_total", "counter", "Entries of the journal's protocol that could not be read.", c.Wrong)
	t.One("queue_high_water_messages", "gauge", "The most messages that were read at one go.", c.HighWater)
	t.One("reopens_total", "counter", "Times that the outputs were reopened.", c.Reopens)
	t.One("repairs_total", "counter", "Times that /dev/log was repaired again.", c.Repairs)
	t.One("upgrades_total", "counter", "Times that the program was replaced.", c.Upgrades)
	t.One("fresh_starts_total", "counter", "Starts without the state of the previous program, which could not be read.", c.Fresh)
	for _, m := range outputMetrics {
		t.Head(m.name, m.kind, m.help)
		for _, route := range a.Routes {
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
