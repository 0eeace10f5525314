package receiver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// accountSender sends numbered messages, each followed by repeats.
type accountSender struct {
	fd       int
	facility int // chooses its file
	end      string
}

const (
	accountEach    = 1500
	accountRepeats = 3
)

func (s accountSender) run(id int) error {
	priority := s.facility<<3 | 5
	for i := range accountEach {
		text := fmt.Sprintf("<%d>s%d: n%d.", priority, id, i)
		if i%100 == 0 { // to the FIFO as well
			text = fmt.Sprintf("<%d>s%d: n%d.", s.facility<<3|2, id, i)
		}
		if err := s.send(text); err != nil {
			return err
		}
		for range accountRepeats {
			if err := s.send(fmt.Sprintf("<%d>again: same", priority)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s accountSender) send(text string) error {
	for data := []byte(text + s.end); len(data) > 0; {
		n, err := unix.Write(s.fd, data)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send %q: %w", text, err)
		}
		data = data[n:]
	}
	return nil
}

// readRotated returns the contents of a file and its old files, compressed or not.
func readRotated(t *testing.T, path string) string {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	host.Check(t, err)
	var all strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(name)
		host.Check(t, err)
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s is left over", name)
		}
		if strings.HasSuffix(name, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(data))
			host.Check(t, err)
			data, err = io.ReadAll(z)
			host.Check(t, err)
		}
		if len(data) > 0 && data[len(data)-1] != '\n' {
			t.Errorf("%s ends in a torn line", name)
		}
		all.Write(data)
	}
	return all.String()
}

// samples reads a metrics file; the keys have no label "name".
func samples(t *testing.T, path string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(path)
	host.Check(t, err)
	all := map[string]int{}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if n, err := strconv.Atoi(value); err == nil && line[0] != '#' {
			all[strings.TrimPrefix(strings.Replace(key, `name="box"`, "", 1), "devlogd_")] = n
		}
	}
	return all
}

var (
	accountNumber = regexp.MustCompile(`\bs\d.*?\bn\d+\.`)
	accountSummed = regexp.MustCompile(`last message repeated (\d+) times`)
)

// Everything together: floods of two datagram sockets, a stream socket and the kernel's log, with a
// rate, repeats left out, three layouts, rotation, compression, a FIFO without a reader, output to the
// kernel's log, upgrades and reloads. Every loss is reported, and the counters are right.
func TestAccountOfEverything(t *testing.T) {
	host.Need(t, "root")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	host.Check(t, unix.Mkfifo(at("fifo"), 0o600))
	r := host.RunReceiver(t, at("s1"), "--listen", at("s1"), "--listen", at("s2"), "--type", "dgram", "--listen", at("s3"), "--type", "stream",
		"--name", "box", "--kernel", "--rate", "4000/s", "--overflow", "block", "--compress-repeats", "--metrics-file", at("prom"),
		"--rule", "local0.* -"+at("a")+";rotate=20k:99,gzip", "--rule", "local1.* -"+at("b")+";JSON", "--rule", "local2.* -"+at("c")+";RFC5424,rotate=50k:99",
		"--rule", "local0,local1,local2.=crit |"+at("fifo"), "--rule", "local3.* /dev/kmsg", "--rule", "syslog.*;kern.* -"+at("own"))
	first := r.Connect()
	second := (&host.Receiver{T: t, Socket: at("s2")}).Connect()
	senders := []accountSender{
		{first, 16, ""}, {second, 17, ""}, {host.ConnectStream(t, at("s3")), 18, "\x00"}, {host.ConnectStream(t, at("s3")), 16, "\n"},
	}
	var group sync.WaitGroup
	failed := make(chan error, len(senders))
	timeout := unix.NsecToTimeval(int64(host.Deadline))
	for i, s := range senders {
		host.Check(t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout))
		group.Add(1)
		go func() {
			defer group.Done()
			failed <- s.run(i)
		}()
	}
	sent := len(senders) * accountEach * (1 + accountRepeats)
	other := r.Connect()
	for i := range 4 {
		for j := range 4 { // more than the kernel accepts in five seconds
			host.Check(t, host.Send(other, fmt.Sprintf("<155>devlog-test: %d.%d of %d", i, j, os.Getpid())))
			host.Check(t, host.Send(other, "<167>nowhere: to go"))
			sent += 2
		}
		r.Signal(unix.SIGUSR2)
		host.Eventually(t, "upgraded", func() bool {
			text, err := os.ReadFile(at("own"))
			return err == nil && strings.Count(string(text), ": upgraded to devlogd ") > i
		})
		r.Signal(unix.SIGHUP)
	}
	group.Wait()
	close(failed)
	for err := range failed {
		host.Check(t, err)
	}
	r.Signal(unix.SIGTERM)
	if code, errOut := r.Wait(); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}

	m := samples(t, at("prom"))
	if m["received_messages_total{"] < sent || m["upgrades_total{"] != 4 || m["throttled_total{"] == 0 || m["read_back_messages_total{"] == 0 {
		t.Errorf("%d sent, the account is %v", sent, m)
	}
	in := m["received_messages_total{"] + m["own_messages_total{"]
	out := m["routed_messages_total{"] + m["unrouted_messages_total{"] + m["told_messages_total{"] + m["read_back_messages_total{"] + m[`dropped_messages_total{,reason="rate"`]
	if in != out || m[`dropped_messages_total{,reason="rate"`] != 0 {
		t.Errorf("%d in, %d out: %v", in, out, m)
	}
	for _, name := range []string{at("a"), at("b"), at("c"), at("own"), at("fifo"), "/dev/kmsg"} {
		of := func(metric string) int { return m["output_"+metric+`{,output="`+name+`"`] }
		lost := 0
		for key, n := range m {
			if strings.HasPrefix(key, `output_lost_messages_total{,output="`+name+`"`) {
				lost += n
			}
		}
		if taken, sum := of("messages_total"), of("written_messages_total")+of("pending_messages")+of("repeated_messages_total")+lost; taken != sum || taken == 0 {
			t.Errorf("%s: %d for it, %d accounted for", name, taken, sum)
		}
		if filepath.Dir(name) == dir && filepath.Base(name) != "fifo" {
			if n := strings.Count(readRotated(t, name), "\n"); n != of("written_messages_total") || lost != 0 {
				t.Errorf("%s: %d lines, %d written, %d lost", name, n, of("written_messages_total"), lost)
			}
		}
	}
	for name, ids := range map[string]int{"a": 2, "b": 1, "c": 1} {
		text := readRotated(t, at(name))
		seen := map[string]int{}
		for _, number := range accountNumber.FindAllString(text, -1) {
			seen[number]++
		}
		for number, n := range seen {
			if n != 1 {
				t.Errorf("%s: %q %d times", name, number, n)
			}
		}
		same := strings.Count(text, "same")
		for _, match := range accountSummed.FindAllStringSubmatch(text, -1) {
			n, err := strconv.Atoi(match[1])
			host.Check(t, err)
			same += n
		}
		if len(seen) != ids*accountEach || same != ids*accountEach*accountRepeats {
			t.Errorf("%s: %d messages of %d, %d repeats of %d", name, len(seen), ids*accountEach, same, ids*accountEach*accountRepeats)
		}
	}
}
