package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/intake"
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
	r := newReceiver(&options{name: "box"}, nil)
	prepared(t, r)
	lossy := &lossySink{recorder{name: "/a \"b\"\\\n\xff"}}
	r.router.Routes = []router.Route{{Out: r.router.Meter(lossy, syslogconf.Action{}), Rules: rules(t, "mail.* /a")}, {Out: r.router.Meter(&recorder{name: "/b"}, syslogconf.Action{}), Rules: rules(t, "*.* /b")}}
	send(t, receiving(t, r), "<22>x: y")
	if err := r.loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	r.upgrades = 1<<64 - 1
	m := parseMetrics(t, string(r.appendMetrics(nil)))
	for key, want := range map[string]float64{
		"build_info " + Version: 1, "received_messages_total": 1, "received_bytes_total": 8, "routed_messages_total": 1,
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

// Every message is accounted for, in the metrics as in the files, at the end and
// across upgrades.
func TestMetricsAccount(t *testing.T) {
	dir := t.TempDir()
	sock, user, mail, file := filepath.Join(dir, "s"), filepath.Join(dir, "user"), filepath.Join(dir, "mail"), filepath.Join(dir, "prom", "devlogd.prom")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "user.* -"+user, "--rule", "mail.*;syslog.* -"+mail,
		"--compress-repeats", "--rate", "100/m", "--overflow", "drop", "--metrics-file", file)
	eventually(t, "metrics", func() bool { _, err := os.Stat(file); return err == nil })
	if got := readMetrics(t, file)["received_messages_total"]; got != 0 {
		t.Errorf("%v messages at the start", got)
	}
	fd := dial(t, sock)
	sent := 0
	for i := range 300 {
		text := [...]string{"<13>same", "<22>mail: same", "<30>daemon: to nowhere", "<13>other"}[i/2%4]
		send(t, fd, text)
		sent++
		if i == 20 || i == 40 {
			d.signal(unix.SIGUSR2)
			awaitTimes(t, mail, upgraded, i/20)
		}
	}
	if err := os.Rename(user, user+".1"); err != nil {
		t.Fatal(err)
	}
	d.signal(unix.SIGHUP)
	eventually(t, "the files are opened anew", func() bool { _, err := os.Stat(user); return err == nil })
	d.stop()
	m := readMetrics(t, file)
	if m["received_messages_total"] != float64(sent) || m["reopens_total"] != 1 || m["upgrades_total"] != 2 || m["dropped_messages_total rate"] < 100 {
		t.Errorf("%v", m)
	}
	if in, out := m["received_messages_total"]+m["own_messages_total"], m["routed_messages_total"]+m["unrouted_messages_total"]+m["told_messages_total"]+m["dropped_messages_total rate"]; in != out {
		t.Errorf("%v in, %v out", in, out)
	}
	routed := 0.0
	for _, o := range []string{user, mail} {
		taken := m["output_messages_total "+o]
		if sum := m["output_written_messages_total "+o] + m["output_pending_messages "+o] + m["output_repeated_messages_total "+o]; taken != sum || taken == 0 {
			t.Errorf("%s: %v for it, %v accounted for", o, taken, sum)
		}
		text := content(t, o)
		if o == user {
			text += content(t, o+".1")
		}
		if n := strings.Count(text, "\n"); float64(n) != m["output_written_messages_total "+o] {
			t.Errorf("%s: %d lines, %v written", o, n, m["output_written_messages_total "+o])
		}
		routed += taken - float64(strings.Count(text, "last message repeated"))
	}
	if routed != m["routed_messages_total"] { // no message matches two of the rules
		t.Errorf("%v routed, %v for the outputs", m["routed_messages_total"], routed)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// The metrics are written by the clock, but only when they have changed.
func TestStepMetrics(t *testing.T) {
	r := newReceiver(&options{name: "box", metrics: filepath.Join(t.TempDir(), "m")}, nil)
	prepared(t, r)
	now := time.Unix(1000, 0)
	received := func() float64 { return readMetrics(t, r.metrics.path)["received_messages_total"] }
	r.stepMetrics(now)
	if received() != 0 || !r.metrics.next.IsZero() {
		t.Errorf("next at %v", r.metrics.next)
	}
	r.Received++
	r.stepMetrics(now.Add(time.Second))
	if received() != 0 || !r.metrics.next.Equal(now.Add(metricsEvery)) {
		t.Errorf("next at %v", r.metrics.next)
	}
	r.Received++
	r.stepMetrics(now.Add(metricsEvery))
	if received() != 2 || !r.metrics.next.IsZero() {
		t.Errorf("next at %v", r.metrics.next)
	}
	// After a long time without a change the next one is written at once.
	r.stepMetrics(now.Add(time.Hour))
	if !r.metrics.next.IsZero() {
		t.Errorf("next at %v", r.metrics.next)
	}
	r.Received++
	r.stepMetrics(now.Add(time.Hour))
	if received() != 3 {
		t.Error("not written")
	}
}

// Metrics that cannot be written are no reason not to receive, and are said once.
func TestMetricsFail(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--metrics-file", filepath.Join(dir, "file", "x"))
	send(t, dial(t, sock), "<13>x")
	await(t, log, "box x\n")
	d.stop()
	if text := content(t, log); strings.Count(text, "cannot write the metrics: ") != 1 || !strings.Contains(text, "not a directory") {
		t.Errorf("%q", text)
	}

	r := newReceiver(&options{name: "box", metrics: dir}, nil) // a directory: the rename fails
	out := &recorder{keep: true}
	r.router.Routes = []router.Route{{Out: out, Rules: rules(t, "*.* -/a")}}
	now := time.Unix(1000, 0)
	for i := range 3 {
		r.Received++
		r.stepMetrics(now.Add(time.Duration(i) * metricsEvery))
	}
	if len(out.lines) != 1 {
		t.Errorf("%q", out.lines)
	}
	if _, err := os.Lstat(dir + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
}

// A link that somebody has laid where the metrics are prepared is not followed.
func TestMetricsLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	r := newReceiver(&options{name: "box", metrics: filepath.Join(dir, "m")}, nil)
	prepared(t, r)
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m", "m.tmp"} {
		if err := os.Symlink(victim, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.metrics.write(r.appendMetrics(nil)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	if len(readMetrics(t, r.metrics.path)) == 0 {
		t.Error("no metrics")
	}
}

func TestMetricsDoNotAllocateIdle(t *testing.T) {
	r := newReceiver(&options{name: "box", metrics: filepath.Join(t.TempDir(), "m")}, nil)
	prepared(t, r)
	r.router.Routes = []router.Route{{Out: r.router.Meter(&recorder{name: "/b"}, syslogconf.Action{}), Rules: rules(t, "*.* /b")}}
	now := time.Unix(1000, 0)
	r.stepMetrics(now)
	if n := testing.AllocsPerRun(100, func() { r.stepMetrics(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// switches counts how often the threads of a process were switched to or away
// from; it changes with each wake-up.
func switches(t *testing.T, pid int) string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%v, %v", tasks, err)
	}
	all := ""
	for _, task := range tasks {
		status, _ := os.ReadFile(task) // a thread that has ended has none
		all += task
		for line := range strings.Lines(string(status)) {
			if strings.Contains(line, "ctxt_switches") {
				all += line
			}
		}
	}
	return all
}

// A receiver with everything on does not wake up while nothing happens.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := newBox(t, "link")
	metrics, stream, fifo := filepath.Join(b.dir, "m.prom"), filepath.Join(b.dir, "stream"), filepath.Join(b.dir, "fifo")
	b.must(unix.Mkfifo(fifo, 0o600))
	d := b.keepWith([]string{"--metrics-file", metrics, "--rate", "10/s", "--compress-repeats", "--listen", stream, "--type", "stream",
		"--rule", "*.* |" + fifo, "--rule", "*.* -" + b.log + ".json;JSON,rotate=1k:3,gzip"})
	send(t, dialStream(t, stream), "<13>x: whole\n<13>x: hal") // an idle connection
	d.signal(unix.SIGUSR2)
	awaitTimes(t, b.log, upgraded, 1)
	fd := dial(t, b.dev)
	for i := range 30 { // more than the rate
		send(t, fd, fmt.Sprintf("<13>x: %d.", i))
	}
	await(t, b.log, "x: 29.")
	// The metrics of all this come within 10 s, and nothing after that. A look
	// of the runtime's every minute is none of ours.
	eventually(t, "the last metrics", func() bool {
		text, err := os.ReadFile(metrics)
		return err == nil && strings.Contains(string(text), `devlogd_received_messages_total{name="box"} 31`)
	})
	const long = 12 * time.Second
	last, since := switches(t, d.cmd.Process.Pid), time.Now()
	eventually(t, "12 seconds without a wake-up", func() bool {
		if now := switches(t, d.cmd.Process.Pid); now != last {
			last, since = now, time.Now()
		}
		_, _ = unix.Poll(nil, 200)
		return time.Since(since) >= long
	})
	d.stopLosing(fifo, "read by nobody")
}

// counted is an output with this account.
type counted struct {
	recorder
	counts output.Counts
}

func (c *counted) Counts() output.Counts { return c.counts }

// What a reader of a FIFO has left becomes lost after it was written: the metrics
// have changed.
func TestMetricsSumOfUnread(t *testing.T) {
	c := &counted{counts: output.Counts{Written: 5, Lost: []output.Loss{{Reason: "x", N: 1}}}}
	r := &receiver{counters: counters{Counts: new(intake.Counts)}, router: router.Router{Routes: []router.Route{{Out: c}}}}
	before := r.metricsSum()
	c.counts.Written, c.counts.Lost[0].N = 3, 3
	if r.metricsSum() == before {
		t.Error("the sum is the same")
	}
}
