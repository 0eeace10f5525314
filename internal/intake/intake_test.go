package intake

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/eventloop"
	"devlog/internal/file/filetest"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// taker keeps what it takes.
type taker struct {
	settle      func()
	texts, said []string
	senders     []syslog.Sender
	cut         int
	flushed     int
	quiet       bool // it keeps nothing
	busy        time.Time
	failed      []error
}

func (k *taker) Busy(now time.Time) (until time.Time) {
	if now.Before(k.busy) {
		return k.busy
	}
	return until
}

func (k *taker) Take(raw []byte, cut bool, from syslog.Sender, _ time.Time) {
	if k.quiet {
		return
	}
	k.texts, k.senders = append(k.texts, string(raw)), append(k.senders, from)
	if cut {
		k.cut++
	}
}

func (k *taker) TakeEntry(m *syslog.Message, _ time.Time) {
	k.Take(syslog.AppendBody(nil, m), m.Cut, m.Sender, time.Time{})
}

func (k *taker) Done() {}

func (k *taker) Failed(err error) { k.failed = append(k.failed, err) }

func (k *taker) Flush(time.Time) { k.flushed++ }
func (k *taker) Settle(time.Time) { // what is left is flushed
	if k.settle != nil {
		k.settle()
	}
}

func (k *taker) Say(_ syslog.Severity, text string) { k.said = append(k.said, text) }

// bench is an intake with a loop, and a directory for its sockets.
type bench struct {
	*testing.T
	*Intake
	loop *eventloop.Loop
	got  *taker
	dir  string
}

func newBench(t *testing.T, rate string, overflow syslogconf.Overflow) *bench {
	t.Helper()
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	memory := batch.New()
	b := &bench{T: t, loop: loop, got: &taker{}, dir: t.TempDir()}
	b.Intake = New(loop, memory, b.got, parseRate(t, rate), overflow)
	t.Cleanup(func() { b.Close(); memory.Close(); loop.Close() })
	return b
}

func parseRate(t *testing.T, text string) (rate syslogconf.Rate) {
	t.Helper()
	if text == "" {
		return rate
	}
	rate, err := syslogconf.ParseRate(text)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// listen has the intake receive from a new socket, and returns its path.
func (b *bench) listen(kind int) string {
	b.Helper()
	s, err := Listen(filepath.Join(b.dir, fmt.Sprint(len(b.sockets))), kind, false)
	b.must(err)
	b.must(b.Add(s))
	return s.Path
}

// dial connects to a socket of this kind.
func (b *bench) dial(path string, kind int) int {
	b.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	b.must(err)
	b.Cleanup(func() { _ = unix.Close(fd) })
	b.must(unix.Connect(fd, &unix.SockaddrUnix{Name: path}))
	return fd
}

func (b *bench) send(fd int, texts ...string) {
	b.Helper()
	for _, text := range texts {
		b.must(unix.Sendto(fd, []byte(text), unix.MSG_NOSIGNAL, nil))
	}
}

// run runs the loop until there are n messages.
func (b *bench) run(n int) {
	b.Helper()
	deadline := b.loop.NewTimer(func(time.Time) { b.loop.Fail(errors.New("no more messages come")) })
	deadline.Set(time.Now().Add(10 * time.Second))
	for len(b.got.texts) < n {
		look := b.loop.NewTimer(func(time.Time) { b.loop.Stop() })
		look.Set(time.Now().Add(time.Millisecond))
		if err := b.loop.Run(); err != nil {
			b.Fatalf("%v: %q, want %d", err, b.got.texts, n)
		}
	}
	deadline.Set(time.Time{})
}

// want compares the messages taken, and forgets them.
func (b *bench) want(texts ...string) {
	b.Helper()
	b.run(len(texts))
	if !slices.Equal(b.got.texts, texts) {
		b.Errorf("took %q, want %q", b.got.texts, texts)
	}
	b.got.texts = nil
}

func TestDatagrams(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	fd := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM)
	b.send(fd, "a", "", strings.Repeat("x", batch.SlotSize), "b\x00\n")
	b.want("a", "", strings.Repeat("x", batch.SlotSize), "b\x00\n")
	b.must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20))
	b.send(fd, strings.Repeat("y", batch.SlotSize+1))
	b.want(strings.Repeat("y", batch.SlotSize))
	if c := b.Counts; c.Received != 5 || c.Cut != 1 || c.Bytes != 2*batch.SlotSize+4 || c.HighWater != 4 || b.got.cut != 1 {
		t.Errorf("counted %+v", c)
	}
	if b.Connections() != -1 {
		t.Error("it has connections")
	}
}

func TestStreams(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	path := b.listen(unix.SOCK_STREAM)
	one, two := b.dial(path, unix.SOCK_STREAM), b.dial(path, unix.SOCK_STREAM)
	b.send(one, "a\nb")
	b.want("a")
	b.send(two, "c\x00")
	b.want("c")
	b.send(one, "b\nc")
	b.want("bb")
	if b.Connections() != 2 {
		t.Errorf("%d connections", b.Connections())
	}
	b.must(b.Drain())
	b.want("c") // what has no end is a message
	if b.Connections() != 0 {
		t.Errorf("%d connections are left", b.Connections())
	}
}

// Removing a socket reads its queued messages. Its connections stay.
func TestRemove(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	stream, dgram := b.listen(unix.SOCK_STREAM), b.listen(unix.SOCK_DGRAM)
	fd := b.dial(stream, unix.SOCK_STREAM)
	b.send(fd, "a\n")
	b.send(b.dial(dgram, unix.SOCK_DGRAM), "b")
	for _, s := range slices.Clone(b.Sockets()) {
		b.must(b.Remove(s))
	}
	b.run(2)
	b.got.texts = nil
	b.send(fd, "c\n")
	b.want("c")
	if len(b.Sockets()) != 0 {
		t.Errorf("%d sockets are left", len(b.Sockets()))
	}
}

// Senders wait while there is more than the rate, and nothing is lost.
func TestRateBlocks(t *testing.T) {
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		b := newBench(t, "5/s", syslogconf.Block)
		fd := b.dial(b.listen(kind), kind)
		var want []string
		for i := range 7 {
			want = append(want, fmt.Sprint(i))
			b.send(fd, fmt.Sprint(i, "\n")[:1+kind/unix.SOCK_STREAM%2])
		}
		begin := time.Now()
		b.run(5)
		if kind == unix.SOCK_DGRAM && len(b.got.texts) != 5 {
			t.Errorf("%d messages at once", len(b.got.texts))
		}
		b.run(7)
		if kind == unix.SOCK_DGRAM && (time.Since(begin) < 300*time.Millisecond || b.Throttled == 0 || len(b.got.said) != 1) {
			t.Errorf("after %v, %+v, said %q", time.Since(begin), b.Counts, b.got.said)
		}
		if !slices.Equal(b.got.texts, want) {
			t.Errorf("took %q", b.got.texts)
		}
	}
}

func TestRateDrops(t *testing.T) {
	b := newBench(t, "5/m", syslogconf.Drop)
	fd := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM)
	for i := range 9 {
		b.send(fd, fmt.Sprint(i))
	}
	b.want("0", "1", "2", "3", "4")
	if b.Received != 9 || b.Dropped != 4 || b.Bytes != 5 || b.Unsaid() != 4 {
		t.Errorf("counted %+v", b.Counts)
	}
	b.must(b.Drain())
	if want := []string{"4 messages lost (more than 5/m)"}; !slices.Equal(b.got.said, want) {
		t.Errorf("said %q", b.got.said)
	}
}

// The sender of the first message is known, even if it was sent before the reading started.
func TestSenderOfTheFirst(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	b.AskSenders()
	s, err := Listen(filepath.Join(b.dir, "s"), unix.SOCK_DGRAM, b.Asks())
	b.must(err)
	b.send(b.dial(s.Path, unix.SOCK_DGRAM), "early")
	b.must(b.Add(s))
	b.want("early")
	if from := b.got.senders[0]; from.PID != int32(os.Getpid()) {
		t.Errorf("it is from %+v", from)
	}
}

// Intakes that share memory do not share what they ask for.
func TestSenders(t *testing.T) {
	a := newBench(t, "", syslogconf.Block)
	with := New(a.loop, a.memory, a.got, syslogconf.Rate{}, syslogconf.Block)
	t.Cleanup(with.Close)
	s, err := Listen(filepath.Join(a.dir, "with"), unix.SOCK_DGRAM, false)
	a.must(err)
	a.must(with.Add(s))
	with.AskSenders()
	plain, asked := a.dial(a.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM), a.dial(s.Path, unix.SOCK_DGRAM)
	for range 3 {
		a.send(plain, "plain")
		a.want("plain")
		a.send(asked, "asked")
		a.want("asked")
	}
	for i, from := range a.got.senders {
		if from.Known != (i%2 == 1) || from.Known && from.PID != int32(os.Getpid()) {
			t.Errorf("message %d is from %+v", i, from)
		}
	}
}

// Connections continue in another process where they were, in their order.
func TestState(t *testing.T) {
	b := newBench(t, "10/m", syslogconf.Drop)
	path := b.listen(unix.SOCK_STREAM)
	one, two := b.dial(path, unix.SOCK_STREAM), b.dial(path, unix.SOCK_STREAM)
	b.send(one, "a\nb")
	b.send(two, "6 <1>xyz6 <1")
	b.run(2)
	b.got.texts = nil
	state := b.State()
	if len(state) != 2 {
		t.Fatalf("%+v", state)
	}
	next := newBench(t, "10/m", syslogconf.Drop)
	fd, err := unix.Dup(b.Sockets()[0].FD)
	next.must(err)
	s, err := Inherit(fd)
	next.must(err)
	s.SetDebt(b.Sockets()[0].Debt(time.Now()), time.Now())
	next.must(next.Add(s))
	for i := range state {
		state[i].FD, err = unix.Dup(state[i].FD)
		next.must(err)
	}
	next.must(next.Resume(state))
	next.SetUnsaid(3, time.Now())
	next.send(one, "c\n")
	next.want("bc")
	next.send(two, ">abc")
	next.want("<1>abc")
	if s.bucket.holds(next.limits.rate, time.Now()) > 6 || next.Unsaid() != 3 {
		t.Error("the rate begins from nothing")
	}
}

// Clients cannot pass descriptors. Where the kernel lets them, these are closed.
func TestPassedDescriptors(t *testing.T) {
	for kind, end := range map[int]string{unix.SOCK_DGRAM: "", unix.SOCK_STREAM: "\n"} {
		b := newBench(t, "", syslogconf.Block)
		path := b.listen(kind)
		listener := b.Sockets()[0].FD
		if _, err := unix.GetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_PASSRIGHTS); err == nil {
			if err := unix.Sendmsg(b.dial(path, kind), []byte("x"), unix.UnixRights(0), nil, 0); !errors.Is(err, unix.EPERM) {
				t.Errorf("passed: %v", err)
			}
			b.must(unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 1))
		}
		fd := b.dial(path, kind)
		b.send(fd, "a"+end)
		b.want("a")
		for _, asks := range []bool{false, true} {
			if asks {
				b.AskSenders()
			}
			before := filetest.Open(t)
			b.must(unix.Sendmsg(fd, []byte("x"+end), unix.UnixRights(0, 1), nil, 0))
			b.want("x")
			if after := filetest.Open(t); after != before {
				t.Errorf("asking for senders %t: %d files are open, %d before", asks, after, before)
			}
		}
	}
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	b := newBench(t, "1000000/s", syslogconf.Drop)
	b.got.quiet = true
	dgram, stream := b.dial(b.listen(unix.SOCK_DGRAM), unix.SOCK_DGRAM), b.dial(b.listen(unix.SOCK_STREAM), unix.SOCK_STREAM)
	b.AskSenders()
	text := []byte("<30>Feb  3 04:05:06 cron[1]: hello\n")
	if n := testing.AllocsPerRun(200, func() {
		for _, fd := range []int{dgram, stream} {
			for range 4 {
				if _, err := unix.Write(fd, text); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := b.loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}); n > 0.05 {
		t.Errorf("%v allocations", n)
	}
	if b.Received < 4*200 {
		t.Errorf("received %d", b.Received)
	}
}
