package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// load is what is sent to a receiver.
type load struct {
	name     string
	senders  int
	messages int // of each sender
	bytes    int // of a message
	rate     int // messages a second of each sender, 0 for as many as it can
	queue    int // length of the socket's queue, 0 for the kernel's default
}

var allLoads = []load{
	{name: "one", senders: 1, messages: 400_000, bytes: 120},
	{name: "eight", senders: 8, messages: 50_000, bytes: 120},
	{name: "long", senders: 1, messages: 200_000, bytes: 1024},
	{name: "4000/s", senders: 1, messages: 8_000, bytes: 120, rate: 4000},
	{name: "100/s", senders: 1, messages: 500, bytes: 120, rate: 100},
	{name: "eight, queue 512", senders: 8, messages: 50_000, bytes: 120, queue: 512},
}

// scaled returns the load with another number of messages.
func (l load) scaled(by float64) load {
	l.messages = max(5, int(float64(l.messages)*by))
	return l
}

// overdue is the time without messages after which missing ones count as lost.
const overdue = 2 * time.Second

// loads measures all loads. The peers take turns, and each goes first in turn.
func (w *place) loads(r *results) error {
	for rep := range w.reps {
		say("loads, %d of %d", rep+1, w.reps)
		for _, l := range allLoads {
			for i := range w.peers {
				p := w.peers[(i+rep)%len(w.peers)]
				scale := w.scale
				if p.slow && l.rate == 0 {
					scale /= 10
				}
				if err := w.loadOne(r, p, l.scaled(scale)); err != nil {
					return fmt.Errorf("%s, load %s: %w", p.name, l.name, err)
				}
			}
		}
	}
	return nil
}

// loadOne measures one load once.
func (w *place) loadOne(r *results, p peer, l load) error {
	restore, err := setQueue(l.queue)
	if err != nil {
		return err
	}
	dir := filepath.Join(workDir, "load")
	receiver, err := p.start(dir)
	restore()
	if err != nil {
		return err
	}
	defer removeAll(dir)
	defer receiver.stop()
	time.Sleep(w.settle)
	idle, err := receiver.memory()
	if err != nil {
		return err
	}
	before, err := receiver.cpu()
	if err != nil {
		return err
	}
	begin, end, took, err := w.send(l, dir, receiver.socket)
	if err != nil {
		return err
	}
	changed, err := receiver.lastChange(l.senders * l.messages)
	if err != nil {
		return err
	}
	time.Sleep(w.settle)
	after, err := receiver.cpu()
	if err != nil {
		return err
	}
	loaded, err := receiver.memory()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(receiver.log)
	if err != nil {
		return err
	}
	c := count(text, l)
	if changed.After(end) {
		end = changed
	}
	slices.Sort(took)
	n := float64(l.senders * l.messages)
	r.add(p.name, l.name, map[string]float64{
		rate:     (n - float64(c.lost)) / end.Sub(begin).Seconds(),
		cpu:      (after - before).Seconds() * 1e6 / n,
		p50:      quantile(took, 0.5) / 1e3,
		p99:      quantile(took, 0.99) / 1e3,
		rssIdle:  idle.RSS,
		rssAfter: loaded.RSS,
		lost:     float64(c.lost),
		cut:      float64(c.cut),
		disorder: float64(c.disorder),
	})
	return nil
}

// setQueue sets the queue length of new sockets in this network namespace. undo restores it.
func setQueue(length int) (undo func(), err error) {
	const file = "/proc/sys/net/unix/max_dgram_qlen"
	if length == 0 {
		return func() {}, nil
	}
	was, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(length)), 0); err != nil {
		return nil, err
	}
	return func() { _ = os.WriteFile(file, was, 0) }, nil // in this namespace only
}

// send runs the senders. It returns when they began and ended, and the nanoseconds that each message
// took.
func (w *place) send(l load, dir, socket string) (begin, end time.Time, took []uint32, err error) {
	out := dir + "/took"
	text, err := run(filepath.Join(w.tools, loadTool), l.args(out, socket)...)
	if err != nil {
		return begin, end, nil, err
	}
	var b, e int64
	if _, err := fmt.Sscan(text, &b, &e); err != nil {
		return begin, end, nil, fmt.Errorf("read what the senders say: %w", err)
	}
	took, err = readTimes(out)
	return time.Unix(0, b), time.Unix(0, e), took, err
}

func (l load) args(out string, sockets ...string) []string {
	return append([]string{"-n", strconv.Itoa(l.senders), "-m", strconv.Itoa(l.messages), "-b", strconv.Itoa(l.bytes), "-r", strconv.Itoa(l.rate), "-o", out}, sockets...)
}

// readTimes reads the senders' measurements.
func readTimes(file string) ([]uint32, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	times := make([]uint32, len(data)/4)
	for i := range times {
		times[i] = binary.NativeEndian.Uint32(data[4*i:])
	}
	return times, nil
}

// quantile returns a quantile of sorted numbers.
func quantile(sorted []uint32, q float64) float64 {
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

// lastChange waits until that many messages are in the log, or no more arrive. It returns when the
// log last changed.
func (r *receiver) lastChange(messages int) (time.Time, error) {
	lines, size, grown := 0, int64(0), time.Now()
	f, err := os.Open(r.log)
	for errors.Is(err, fs.ErrNotExist) && time.Since(grown) < overdue { // the first message creates it
		time.Sleep(time.Millisecond)
		f, err = os.Open(r.log)
	}
	if err != nil {
		return grown, err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for lines < messages && time.Since(grown) < overdue {
		n, _ := f.ReadAt(buf, size) // io.EOF at the end
		if n == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		lines += bytes.Count(buf[:n], []byte{'\n'})
		size, grown = size+int64(n), time.Now()
	}
	s, err := f.Stat()
	if err != nil {
		return grown, err
	}
	return s.ModTime(), nil
}

// counted is what became of messages.
type counted struct {
	lost     int
	cut      int // incomplete
	disorder int // repeated, after a later one of the same sender, or unknown
}

// headLen is how long a message is before its text.
const headLen = len("<14>Nov 24 12:00:00 load[1000]: ")

// count compares a log with what was sent.
func count(log []byte, l load) counted {
	seen := make([]bool, l.senders*l.messages)
	last := make([]int, l.senders)
	c := counted{lost: len(seen)}
	for line := range bytes.Lines(log) {
		at := bytes.Index(line, []byte("]: run "))
		if at < 0 {
			continue // a message of the receiver's own
		}
		text := bytes.TrimSuffix(line[at+len("]: "):], []byte{'\n'})
		f := bytes.SplitN(text, []byte{' '}, 4)
		sender, number := -1, -1
		if len(f) == 4 {
			sender, number = atoi(f[1]), atoi(f[2])
		}
		if sender < 0 || sender >= l.senders || number < 0 || number >= l.messages || seen[sender*l.messages+number] {
			c.disorder++
			continue
		}
		seen[sender*l.messages+number] = true
		c.lost--
		if number < last[sender] {
			c.disorder++
		}
		last[sender] = number
		if len(text) != l.bytes-headLen || text[len(text)-1] != '.' {
			c.cut++
		}
	}
	return c
}

// atoi returns -1 if the text is not a number.
func atoi(b []byte) int {
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return -1
	}
	return n
}
