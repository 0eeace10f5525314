package receiver

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

var (
	metricHelp   = regexp.MustCompile(`^# HELP ([a-z_]+) ([^\\]+\.)$`)
	metricType   = regexp.MustCompile(`^# TYPE ([a-z_]+) (counter|gauge)$`)
	metricSample = regexp.MustCompile(`^([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} ([0-9]+(?:\.[0-9]+)?)$`)
	metricLabel  = regexp.MustCompile(`([a-z]+)="((?:[^"\\]|\\.)*)"(?:,|$)`)
)

// parseMetrics reads the text format as strictly as it is written (Prometheus'
// "exposition formats"): for each metric HELP, then TYPE, then all its samples.
// The values are found by the metric's name and the labels.
func parseMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	name, kind := "", ""
	seen := map[string]bool{}
	if !strings.HasSuffix(text, "\n") {
		t.Errorf("the last line is not whole: %q", text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := metricHelp.FindStringSubmatch(line); m != nil {
			if seen[m[1]] {
				t.Errorf("%s: twice", m[1])
			}
			name, kind, seen[m[1]] = m[1], "", true
			continue
		}
		if m := metricType.FindStringSubmatch(line); m != nil {
			if m[1] != name || kind != "" || (m[2] == "counter") != strings.HasSuffix(name, "_total") {
				t.Errorf("%q after HELP of %s", line, name)
			}
			kind = m[2]
			continue
		}
		m := metricSample.FindStringSubmatch(line)
		if m == nil || m[1] != name || kind == "" || !strings.HasPrefix(name, "devlogd_") {
			t.Fatalf("%q within %s", line, name)
		}
		labels := metricLabel.FindAllStringSubmatch(m[2], -1)
		key := strings.TrimPrefix(name, "devlogd_")
		for i, l := range labels {
			value, err := strconv.Unquote(`"` + l[2] + `"`)
			if err != nil || i == 0 && l[1] != "name" {
				t.Errorf("%q: %q, %v", line, l, err)
			}
			if i > 0 {
				key += " " + value
			}
		}
		if _, again := got[key]; again {
			t.Errorf("%q: twice", key)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		got[key] = value
	}
	return got
}

func TestMetricsText(t *testing.T) {
	r := newReceiver(t, Config{Name: "box"})
	lossy := &lossySink{recorder{name: "/a \"b\"\\\n\xff"}}
	r.router.Routes = []router.Route{{Out: r.router.Meter(lossy, syslogconf.Action{}), Rules: rules(t, "mail.* /a")}, {Out: r.router.Meter(&recorder{name: "/b"}, syslogconf.Action{}), Rules: rules(t, "*.* /b")}}
	send(t, receiving(t, r), "<22>x: y")
	if err := r.process.Loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	r.counts.Upgrades = 1<<64 - 1
	m := parseMetrics(t, string(r.counts.AppendMetrics(nil, r.about())))
	for key, want := range map[string]float64{
		"build_info test": 1, "received_messages_total": 1, "received_bytes_total": 8, "routed_messages_total": 1,
		"upgrades_total": 1<<64 - 1, "dropped_messages_total rate": 0,
		"output_messages_total /a \"b\"\\\n\ufffd": 1, "output_messages_total /b": 1, "output_bytes_total /b": 25,
		"output_lost_messages_total /a \"b\"\\\n\ufffd disk full": 3, "output_lost_messages_total /a \"b\"\\\n\ufffd x": 4,
	} {
		if got, ok := m[key]; !ok || got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	if start := time.UnixMilli(int64(m["start_time_seconds"] * 1000)); time.Since(start).Abs() > time.Hour {
		t.Errorf("started %v", start)
	}
}

// lossySink says that it has lost messages.
type lossySink struct{ recorder }

func (s *lossySink) Counts() output.Counts {
	return output.Counts{Lost: []output.Loss{{Reason: "disk full", N: 3}, {Reason: "x", N: 4}}}
}

// readMetrics reads a metrics file.
func readMetrics(t *testing.T, path string) map[string]float64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseMetrics(t, string(text))
}

// The metrics are written at intervals, but only if they have changed.
func TestStepMetrics(t *testing.T) {
	r := newReceiver(t, Config{Name: "box", Metrics: filepath.Join(t.TempDir(), "m")})
	now := time.Unix(1000, 0)
	received := func() float64 { return readMetrics(t, r.metrics.Path)["received_messages_total"] }
	r.stepMetrics(now)
	if received() != 0 || !r.metrics.next.IsZero() {
		t.Errorf("next at %v", r.metrics.next)
	}
	r.counts.Received++
	r.stepMetrics(now.Add(time.Second))
	if received() != 0 || !r.metrics.next.Equal(now.Add(metricsEvery)) {
		t.Errorf("next at %v", r.metrics.next)
	}
	r.counts.Received++
	r.stepMetrics(now.Add(metricsEvery))
	if received() != 2 || !r.metrics.next.IsZero() {
		t.Errorf("next at %v", r.metrics.next)
	}
	// After a long time without a change the next one is written at once.
	r.stepMetrics(now.Add(time.Hour))
	if !r.metrics.next.IsZero() {
		t.Errorf("next at %v", r.metrics.next)
	}
	r.counts.Received++
	r.stepMetrics(now.Add(time.Hour))
	if received() != 3 {
		t.Error("not written")
	}
}

// A link at the name of the temporary metrics file is not followed.
func TestMetricsLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	r := newReceiver(t, Config{Name: "box", Metrics: filepath.Join(dir, "m")})
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m", "m.tmp"} {
		if err := os.Symlink(victim, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.metrics.Write(r.counts.AppendMetrics(nil, r.about())); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	if len(readMetrics(t, r.metrics.Path)) == 0 {
		t.Error("no metrics")
	}
}

func TestMetricsDoNotAllocateIdle(t *testing.T) {
	r := newReceiver(t, Config{Name: "box", Metrics: filepath.Join(t.TempDir(), "m")})
	r.router.Routes = []router.Route{{Out: r.router.Meter(&recorder{name: "/b"}, syslogconf.Action{}), Rules: rules(t, "*.* /b")}}
	now := time.Unix(1000, 0)
	r.stepMetrics(now)
	if n := testing.AllocsPerRun(100, func() { r.stepMetrics(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// counted is an output with this account.
type counted struct {
	recorder
	counts output.Counts
}

func (c *counted) Counts() output.Counts { return c.counts }

// Messages that a FIFO's reader left unread count as lost later: the metrics change.
func TestMetricsSumOfUnread(t *testing.T) {
	c := &counted{counts: output.Counts{Written: 5, Lost: []output.Loss{{Reason: "x", N: 1}}}}
	r := withRoutes(t, router.Route{Out: c})
	before := r.counts.Sum(r.router.Routes)
	c.counts.Written, c.counts.Lost[0].N = 3, 3
	if r.counts.Sum(r.router.Routes) == before {
		t.Error("the sum is the same")
	}
}

// Metrics that cannot be written are reported once.
func TestMetricsFail(t *testing.T) {
	dir := t.TempDir() // a directory: the rename fails
	r := newReceiver(t, Config{Name: "box", Metrics: dir})
	out := &recorder{keep: true}
	r.router.Routes = []router.Route{{Out: out, Rules: rules(t, "*.* -/a")}}
	now := time.Unix(1000, 0)
	for i := range 3 {
		r.counts.Received++
		r.stepMetrics(now.Add(time.Duration(i) * metricsEvery))
	}
	if len(out.lines) != 1 {
		t.Errorf("%q", out.lines)
	}
	if _, err := os.Lstat(dir + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
}
