package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/watchdog"
)

// metricsEvery is the shortest time between two writes of the metrics.
const metricsEvery = 10 * time.Second

// metrics is the file with the account, in Prometheus' text format. The
// collector "textfile" of its node_exporter reads it.
type metrics struct {
	path    string // empty if there is none
	text    []byte
	problem string       // why it could not be written, as was said
	written time.Time    // last time it was, or should have been
	next    time.Time    // when to write what has changed since; zero is never
	sum     uint64       // of what was counted then
	hangs   <-chan error // the result of a write that did not return in time, or nil
}

// stepMetrics writes the metrics if they changed and the last time is long
// enough ago. While nothing changes there is nothing to wake up for.
func (r *receiver) stepMetrics(now time.Time) {
	m := &r.metrics
	if m.path == "" {
		return
	}
	if m.next.IsZero() && (m.written.IsZero() || m.sum != r.metricsSum()) {
		m.next = m.written.Add(metricsEvery)
	}
	if m.next.IsZero() || now.Before(m.next) {
		return
	}
	m.next, m.written = time.Time{}, now
	if err := m.write(r.appendMetrics(m.text[:0])); err != nil && err.Error() != m.problem {
		m.problem = err.Error()
		r.say(syslog.Warning, "cannot write the metrics: "+m.problem)
	} else if err == nil {
		m.problem = ""
	}
	m.sum = r.metricsSum()
}

// finish writes the metrics at the end, with what was lost by that.
func (m *metrics) finish(r *receiver) {
	if !m.written.IsZero() { // or it has never been ready
		_ = m.write(r.appendMetrics(m.text[:0])) // there is nobody left to tell
	}
}

// metricsSum changes whenever one of the metrics does.
func (r *receiver) metricsSum() uint64 {
	sum := r.Received + r.own + r.Throttled + r.Evicted + r.overwritten + r.reopens + r.repairs + r.upgrades + r.fresh
	for _, route := range r.router.Routes {
		c := route.Out.Counts()
		sum += c.Written
		for _, l := range c.Lost {
			sum += 2 * l.N // what a reader has left was counted as written before
		}
	}
	return sum
}

// write writes the metrics, in another goroutine: a file system that hangs holds the
// receiver up for watchdog.Patience at most.
func (m *metrics) write(text []byte) error {
	m.text = text
	if m.hangs != nil && len(m.hangs) == 0 {
		return errHangs
	}
	m.hangs = nil
	result := make(chan error, 1)
	go func() { result <- replaceFile(m.path, text) }()
	timer := time.NewTimer(watchdog.Patience)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		m.hangs, m.text = result, nil
		return errHangs
	}
}

var errHangs = errors.New("file system does not answer")

// replaceFile writes a file: readers see the old one or the new one.
func replaceFile(path string, text []byte) error {
	tmp := path + ".tmp" // the collector reads names that end in ".prom"
	err := unix.Unlink(tmp)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove %s: %w", tmp, err)
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(tmp, flags, 0o644)
	if errors.Is(err, unix.ENOENT) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err = os.OpenFile(tmp, flags, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp) // the error says enough
	}
	return err
}

// metricsText appends metrics.
type metricsText struct {
	b    []byte
	name string // the label that all of them have
}

// label is a name and a value.
type label struct{ name, value string }

// head begins a metric.
func (t *metricsText) head(name, kind, help string) {
	t.b = append(t.b, "# HELP devlogd_"+name+" "+help+"\n# TYPE devlogd_"+name+" "+kind+"\n"...)
}

func (t *metricsText) labels(name string, labels []label) {
	t.b = append(t.b, "devlogd_"+name+`{name="`+escapeLabel(t.name)...)
	for _, l := range labels {
		t.b = append(t.b, `",`+l.name+`="`+escapeLabel(l.value)...)
	}
	t.b = append(t.b, `"} `...)
}

func (t *metricsText) sample(name string, value uint64, labels ...label) {
	t.labels(name, labels)
	t.b = append(strconv.AppendUint(t.b, value, 10), '\n')
}

func (t *metricsText) one(name, kind, help string, value uint64) {
	t.head(name, kind, help)
	t.sample(name, value)
}

// escapeLabel is a label's value as the text format has it.
func escapeLabel(value string) string {
	return labelEscaper.Replace(strings.ToValidUTF8(value, "\ufffd"))
}

var labelEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// appendMetrics appends all metrics.
func (r *receiver) appendMetrics(dst []byte) []byte {
	t := &metricsText{b: dst, name: string(r.router.Host)}
	t.head("build_info", "gauge", "The program's version.")
	t.sample("build_info", 1, label{"version", Version})
	t.head("start_time_seconds", "gauge", "When the receiver started, since the epoch. An upgrade is no start.")
	t.labels("start_time_seconds", nil)
	t.b = append(strconv.AppendFloat(t.b, float64(r.started.UnixMilli())/1000, 'f', 3, 64), '\n')
	t.one("received_messages_total", "counter", "Messages read, from sockets and the kernel's log.", r.Received)
	t.one("received_bytes_total", "counter", "Bytes of the messages read and not dropped.", r.Bytes)
	t.one("own_messages_total", "counter", "Messages by the receiver itself.", r.own)
	t.one("routed_messages_total", "counter", "Messages that match a rule.", r.routed)
	t.one("unrouted_messages_total", "counter", "Messages that match no rule.", r.unrouted)
	t.one("told_messages_total", "counter", "Messages by the receiver itself to a daemon of the container's own.", r.told)
	t.head("dropped_messages_total", "counter", "Messages read and not written to any output.")
	t.sample("dropped_messages_total", r.Dropped, label{"reason", "rate"})
	t.one("cut_messages_total", "counter", "Messages that were longer than what is read of one.", r.Cut)
	t.one("read_back_messages_total", "counter", "Messages by the receiver itself that it read in the kernel's log.", r.readBack)
	t.one("kernel_lost_records_total", "counter", "Records of the kernel's log that were overwritten before they could be read.", r.overwritten)
	t.one("closed_connections_total", "counter", "Connections that were closed to have room for others.", r.Evicted)
	t.one("throttled_total", "counter", "Times that senders had to wait because of the rate.", r.Throttled)
	t.one("queue_high_water_messages", "gauge", "The most messages that were read at one go.", r.HighWater)
	t.one("reopens_total", "counter", "Times that the outputs were reopened.", r.reopens)
	t.one("repairs_total", "counter", "Times that /dev/log was repaired again.", r.repairs)
	t.one("upgrades_total", "counter", "Times that the program was replaced.", r.upgrades)
	t.one("fresh_starts_total", "counter", "Starts without the state of the previous program, which could not be read.", r.fresh)
	for _, m := range outputMetrics {
		t.head(m.name, m.kind, m.help)
		for _, route := range r.router.Routes {
			m.samples(t, m.name, route)
		}
	}
	return t.b
}

// outputMetrics are those with a sample or more for each output.
var outputMetrics = []struct {
	name, kind, help string
	samples          func(*metricsText, string, router.Route)
}{
	{"output_messages_total", "counter", "Messages for the output: written, pending, lost or repeated.", ofMeter(func(p *router.MeteredOutput) uint64 { return p.Taken })},
	{"output_bytes_total", "counter", "Bytes of the messages for the output.", ofMeter(func(p *router.MeteredOutput) uint64 { return p.Bytes })},
	{"output_repeated_messages_total", "counter", "Messages that were only counted as repeats.", ofMeter(func(p *router.MeteredOutput) uint64 { return p.Repeated })},
	{"output_pending_high_water_bytes", "gauge", "The most bytes that could not be written yet.", ofMeter(func(p *router.MeteredOutput) uint64 { return uint64(p.High) })},
	{"output_written_messages_total", "counter", "Messages written.", func(t *metricsText, name string, o router.Route) {
		t.sample(name, o.Out.Counts().Written, label{"output", o.Out.Name()})
	}},
	{"output_pending_messages", "gauge", "Messages that could not be written yet.", func(t *metricsText, name string, o router.Route) {
		t.sample(name, o.Out.Counts().Pending, label{"output", o.Out.Name()})
	}},
	{"output_lost_messages_total", "counter", "Messages lost.", func(t *metricsText, name string, o router.Route) {
		for _, l := range o.Out.Counts().Lost {
			t.sample(name, l.N, label{"output", o.Out.Name()}, label{"reason", l.Reason})
		}
	}},
}

func ofMeter(value func(*router.MeteredOutput) uint64) func(*metricsText, string, router.Route) {
	return func(t *metricsText, name string, o router.Route) {
		if p, ok := o.Out.(*router.MeteredOutput); ok {
			t.sample(name, value(p), label{"output", o.Out.Name()})
		}
	}
}
