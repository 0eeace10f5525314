package devlogd

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
)

// readMetrics reads a metrics file: values by name, with the labels after "name".
func readMetrics(t *testing.T, path string) map[string]float64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range sample.FindAllStringSubmatch(string(text), -1) {
		key := m[1]
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			key += " " + l[1]
		}
		if got[key], err = strconv.ParseFloat(m[3], 64); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

var (
	sample = regexp.MustCompile(`(?m)^devlogd_(\w+)\{name="box"(.*)\} (\S+)$`)
	label  = regexp.MustCompile(`,\w+="(.*?)"`)
)

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
	eventually(t, "the files are opened again", func() bool { _, err := os.Stat(user); return err == nil })
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

// A receiver that cannot write its metrics still receives, and reports that once.
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
}

// switches returns the context switches of a process's threads. They change with each wake-up.
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
	metrics, stream, fifo := filepath.Join(b.Dir, "m.prom"), filepath.Join(b.Dir, "stream"), filepath.Join(b.Dir, "fifo")
	b.Must(unix.Mkfifo(fifo, 0o600))
	d := b.keepWith([]string{"--metrics-file", metrics, "--rate", "10/s", "--compress-repeats", "--listen", stream, "--type", "stream",
		"--rule", "*.* |" + fifo, "--rule", "*.* -" + b.Log + ".json;JSON,rotate=1k:3,gzip"})
	send(t, dialStream(t, stream), "<13>x: whole\n<13>x: hal") // an idle connection
	d.signal(unix.SIGUSR2)
	awaitTimes(t, b.Log, upgraded, 1)
	fd := dial(t, b.Dev)
	for i := range 30 { // more than the rate
		send(t, fd, fmt.Sprintf("<13>x: %d.", i))
	}
	await(t, b.Log, "x: 29.")
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
