package receiver

import (
	"errors"
	"os"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/eventloop"
	"devlog/internal/intake"
	"devlog/internal/output"
	"devlog/internal/process"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
	"devlog/internal/watchdog"
	"devlog/internal/watches"
)

// newProcess returns a process for receivers, which no one watches.
func newProcess(t testing.TB) *process.Process {
	t.Helper()
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	p := &process.Process{
		Version: "test", Loop: loop, Memory: batch.New(), Watchdog: watchdog.New(func() {}, func() {}), Stderr: -1,
		Watches:   watches.NewInstance(loop.Add),
		KernelLog: func(string) (output.Output, error) { return nil, unix.ENOENT },
	}
	t.Cleanup(func() {
		loop.Close()
		p.Memory.Close()
	})
	return p
}

// newReceiver returns a receiver in a process of its own. It is closed at the end.
func newReceiver(t testing.TB, c Config) *Receiver {
	t.Helper()
	return newIn(t, newProcess(t), c)
}

// newIn is newReceiver for that process.
func newIn(t testing.TB, p *process.Process, c Config) *Receiver {
	t.Helper()
	if c.Owner == nil {
		c.Owner = &noOwner{}
	}
	if c.Limit.Rate.N == 0 {
		c.Limit = Limit{syslogconf.Rate{N: 1_000_000, Per: time.Second}, syslogconf.Drop}
	}
	r := New(p, c)
	t.Cleanup(func() {
		if !r.closed {
			r.Close()
		}
	})
	return r
}

// noOwner is an owner that counts its calls.
type noOwner struct {
	written, stepped, ended int
	err                     error
}

func (o *noOwner) Written()          { o.written++ }
func (o *noOwner) Stepped(time.Time) { o.stepped++ }
func (o *noOwner) Ended(err error)   { o.ended, o.err = o.ended+1, err }

// withRoutes returns a receiver with these outputs.
func withRoutes(t testing.TB, routes ...router.Route) *Receiver {
	t.Helper()
	r := newReceiver(t, Config{Name: "box"})
	r.router.PID, r.router.Routes = []byte("7"), routes
	return r
}

// receiving has the receiver receive from one end of a pair of sockets, and returns the
// other end.
func receiving(t testing.TB, r *Receiver) (fd int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	s := &socket{Socket: &intake.Socket{FD: pair[0]}}
	r.sockets = append(r.sockets, s)
	if err := r.intake.Add(s.Socket); err != nil {
		t.Fatal(err)
	}
	return pair[1]
}

// recorder is an output that keeps what it gets.
type recorder struct {
	name  string
	lines []string
	sync  []bool
	count int
	keep  bool
}

func (s *recorder) Name() string          { return s.name }
func (s *recorder) Flush(time.Time)       {}
func (s *recorder) Next() time.Time       { return time.Time{} }
func (s *recorder) Reopen(time.Time)      {}
func (s *recorder) Close()                {}
func (s *recorder) Counts() output.Counts { return output.Counts{} }
func (s *recorder) Add(m output.Message) {
	s.count++
	if s.keep {
		s.lines = append(s.lines, stamp.ReplaceAllString(string(m.Line), ""))
		s.sync = append(s.sync, m.Sync)
	}
}

func rules(t testing.TB, texts ...string) []syslogconf.Rule {
	t.Helper()
	list, err := syslogconf.Load("", texts, "")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// hearKernel replaces the kernel's log, and returns the last text written there.
func hearKernel(r *Receiver) *string {
	k := &kernelTexts{}
	r.process.KernelLog = func(string) (output.Output, error) { return k, nil }
	return &k.last
}

type kernelTexts struct {
	output.Output
	last string
}

func (k *kernelTexts) Add(m output.Message) { k.last = string(m.Body) }
func (k *kernelTexts) Close()               {}

func send(t testing.TB, fd int, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := unix.Send(fd, []byte(m), 0); err != nil {
			t.Fatalf("send %d bytes: %v", len(m), err)
		}
	}
}

var stamp = regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} `)

// content returns a log file's text without the times.
func content(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // the first message creates it
		t.Fatal(err)
	}
	return stamp.ReplaceAllString(string(data), "")
}

func openDir(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
