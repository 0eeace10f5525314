package relay

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
)

// daemon is the other end.
type daemon struct {
	*testing.T
	path string
	fd   int
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{T: t, path: filepath.Join(t.TempDir(), "s"), fd: -1}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) start() {
	d.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: d.path})
	}
	if err != nil {
		d.Fatal(err)
	}
	d.fd = fd
}

func (d *daemon) stop() {
	if d.fd >= 0 {
		_ = errors.Join(unix.Close(d.fd), unix.Unlink(d.path))
		d.fd = -1
	}
}

// receive returns the messages that are there.
func (d *daemon) receive() (list []string) {
	buf := make([]byte, 1<<20)
	for {
		n, err := unix.Read(d.fd, buf)
		if err != nil {
			return list
		}
		list = append(list, string(buf[:n]))
	}
}

func (d *daemon) want(want ...string) {
	d.Helper()
	if got := d.receive(); strings.Join(got, "|") != strings.Join(want, "|") {
		d.Errorf("received %.200q, want %.200q", got, want)
	}
}

// sender is a relay, with what it has said.
type sender struct {
	*Relay
	problems []error
	woken    int
}

func newSender(d *daemon) *sender {
	s := &sender{}
	s.Relay = New(Options{
		Name: "test", Path: d.path,
		Frame: func(dst []byte, m output.Message) []byte {
			return append(dst, bytes.TrimSuffix(m.Line, []byte("\n"))...)
		},
		Notice:  func(text string) output.Message { return output.Message{Line: []byte(text)} },
		Wake:    func(int) { s.woken++ },
		Problem: func(err error) { s.problems = append(s.problems, err) },
	})
	d.Cleanup(s.Close)
	return s
}

func (s *sender) add(texts ...string) {
	for _, text := range texts {
		s.Add(output.Message{Line: []byte(text + "\n")})
	}
}

func (d *daemon) counts(s *sender, written, pending, lost uint64) {
	d.Helper()
	c := s.Counts()
	var all uint64
	for _, l := range c.Lost {
		all += l.N
	}
	if c.Written != written || c.Pending != pending || all != lost {
		d.Errorf("counted %+v, want %d, %d and %d", c, written, pending, lost)
	}
}

func TestRelay(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	s.add("a", "", "b")
	d.counts(s, 0, 3, 0)
	s.Flush(time.Now())
	d.want("a", "", "b")
	d.counts(s, 3, 0, 0)
	if s.Name() != "test" || !s.Next().IsZero() || len(s.problems) > 0 {
		t.Errorf("%s, next %v, %v", s.Name(), s.Next(), s.problems)
	}
}

// Messages wait while the daemon does not read, and are sent when it does.
func TestFull(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	const n = 2000
	var want, got []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
		s.add(want[i])
	}
	s.Flush(time.Now())
	if c := s.Counts(); c.Pending == 0 || s.woken != 1 || !s.Next().IsZero() {
		t.Fatalf("%+v, woken %d times, next %v", c, s.woken, s.Next())
	}
	for len(got) < n {
		list := d.receive()
		if len(list) == 0 {
			t.Fatalf("%d of %d came", len(got), n)
		}
		got = append(got, list...)
		s.Flush(time.Now())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Error("another order")
	}
	d.counts(s, n, 0, 0)
}

// A restarted daemon gets what was sent meanwhile. What exceeds the buffer is counted, and
// reported to it.
func TestRestart(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	s.add("a")
	s.Flush(time.Now())
	d.want("a")
	d.stop()
	s.add("b")
	s.Flush(time.Now())
	s.Flush(time.Now().Add(time.Second)) // tells nobody twice
	if len(s.problems) != 1 || !errors.Is(s.problems[0], unix.ENOENT) || s.Next().IsZero() {
		t.Errorf("problems %v, next %v", s.problems, s.Next())
	}
	d.counts(s, 1, 1, 0)
	long := strings.Repeat("x", 64<<10)
	for range 20 {
		s.add(long)
	}
	kept := s.Counts().Pending - 1
	d.counts(s, 1, 1+kept, 20-kept)
	if kept < 10 || kept > 16 {
		t.Errorf("%d messages of 64 KiB are kept", kept)
	}
	d.start()
	s.Flush(s.Next())
	var got []string
	for i := 0; i < 100 && s.Counts().Pending > 0; i++ {
		got = append(got, d.receive()...)
		s.Flush(time.Now())
	}
	got = append(got, d.receive()...)
	told := fmt.Sprint(20-kept, " messages lost on the way here")
	if len(got) != int(kept)+2 || got[0] != "b" || !strings.Contains(strings.Join(got, ""), told) {
		t.Errorf("%d messages, the first %.20q", len(got), got[0])
	}
	d.counts(s, 2+kept, 0, 20-kept)
}

// The longest entry of the journal fits into a datagram: 64 KiB of text with every byte escaped,
// the text as it was, and 64 KiB of further fields. What does not fit is counted.
func TestLong(t *testing.T) {
	d := newDaemon(t)
	longest, longer := strings.Repeat("x", (4+1+1)*(64<<10)+8192), strings.Repeat("x", 4*sendBuffer)
	s := newSender(d)
	s.add(longest, longer, "b")
	s.Flush(time.Now())
	d.want(longest, "b", "1 messages lost on the way here")
	d.counts(s, 2, 0, 1)
}

func TestClose(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	s.add("a", "b")
	s.Close()
	d.counts(s, 0, 0, 2)
}

func TestDoesNotAllocate(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	m, buf := output.Message{Line: []byte("text\n")}, make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		s.Add(m)
		s.Flush(time.Time{})
		if _, err := unix.Read(d.fd, buf); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// A daemon that is slower than its senders loses only what exceeds the buffer.
func TestSlow(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	buf := make([]byte, 4096)
	for range 50_000 {
		s.add(strings.Repeat("x", 100))
		s.Flush(time.Now())
		if s.queued > 5000 {
			_, _ = unix.Read(d.fd, buf)
		}
	}
	if n := len(s.queue); n > 2*maxWaiting+4096 {
		t.Errorf("%d bytes are kept for the %d that wait", n, s.Buffered())
	}
}

// The next program's relay sends what is pending, in order.
func TestResume(t *testing.T) {
	d := newDaemon(t)
	before := newSender(d)
	d.stop()
	before.add("a", "b\nc", "")
	before.Flush(time.Now())
	next := newSender(d)
	next.Resume(before.State(time.Now()), time.Now())
	next.Resume(output.State{Written: 2, Lost: []output.Loss{{Reason: "x", N: 3}}, Unsaid: 3, Pending: []byte{9}}, time.Now())
	d.counts(next, 2, 3, 3)
	d.start()
	next.add("d")
	next.Flush(time.Now())
	next.Flush(time.Now())
	d.want("a", "b\nc", "", "d", "3 messages lost on the way here")
}

// Senders wait for a daemon that is slow or down once much is pending for it, but only for a
// limited time.
func TestBusy(t *testing.T) {
	d := newDaemon(t)
	s := newSender(d)
	busy := func(now time.Time, want bool) {
		t.Helper()
		if until := s.Busy(now); until.After(now) != want {
			t.Errorf("busy until %v after now, want %v", until.Sub(now), want)
		}
	}
	now := time.Now()
	much := strings.Repeat("x", busyFrom/1000)
	for range 2000 {
		s.add(much)
		busy(now, false) // nothing says so yet
	}
	s.Flush(now)
	busy(now, true)
	busy(now.Add(patience+time.Second), false)
	d.receive()
	now = now.Add(2 * patience)
	s.Flush(now) // some were taken
	busy(now, true)
	d.stop()
	s.Flush(now)
	busy(now.Add(patience), true)
	busy(now.Add(patience+time.Second), false)
	d.start()
	for range 1000 {
		s.Flush(now.Add(time.Minute))
		d.receive()
	}
	busy(now, false)
	d.counts(s, 2000, 0, 0)
}
