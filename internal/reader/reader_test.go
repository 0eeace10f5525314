package reader

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/notify"
	"devlog/internal/process"
	"devlog/internal/receiver"
	"devlog/internal/syslogconf"
)

// bench is a reader whose loop the test runs.
type bench struct {
	t      *testing.T
	reader *Reader
	conn   int // the watcher's end
	dir    string
	batch  int
}

func newBench(t *testing.T, batch int) *bench {
	t.Helper()
	kept, err := OpenKept(batch)
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.New("test", kept.Memory(), func() {}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, conn: fds[0], dir: t.TempDir(), batch: batch}
	parse := func(args []string) (receiver.Config, error) {
		return receiver.Config{Name: args[0], Rules: func() ([]syslogconf.Rule, error) {
			return syslogconf.Load("", []string{"*.* -" + filepath.Join(b.dir, args[1])}, "")
		}}, nil
	}
	if b.reader, err = New(p, fds[1], kept, parse); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.reader.Leave()
		_ = unix.Close(b.conn)
		p.Loop.Close()
	})
	return b
}

func newBatch(t *testing.T) int {
	t.Helper()
	fd, err := MakeKept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// run handles what is ready.
func (b *bench) run() {
	b.t.Helper()
	for range 4 {
		if err := b.reader.process.Loop.RunOnce(); err != nil {
			b.t.Fatal(err)
		}
	}
}

// order gives an order, and returns its result.
func (b *bench) order(o nodecall.Order, files ...handover.Passed) (result nodecall.Result) {
	b.t.Helper()
	if err := nodecall.SendOrder(b.conn, o, files); err != nil {
		b.t.Fatal(err)
	}
	b.run()
	text := make([]byte, 4096)
	n, _, err := unix.Recvfrom(b.conn, text, unix.MSG_DONTWAIT)
	if err != nil {
		b.t.Fatalf("%+v has no result: %v", o, err)
	}
	if err := json.Unmarshal(text[:n], &result); err != nil || result.Number != o.Number {
		b.t.Fatalf("%+v: %q, %v", o, text[:n], err)
	}
	return result
}

// socket returns a socket at a name in the bench's directory, and a client's.
func (b *bench) socket(name string) (passed handover.Passed, client int) {
	b.t.Helper()
	at := &unix.SockaddrUnix{Name: filepath.Join(b.dir, name)}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, at)
	}
	if err == nil {
		client, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	if err == nil {
		err = unix.Connect(client, at)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), name)
	b.t.Cleanup(func() { _, _ = file.Close(), unix.Close(client) })
	return handover.Passed{File: file, Name: handover.NameSocket}, client
}

func (b *bench) send(client int, text string) {
	b.t.Helper()
	if err := unix.Send(client, []byte("<13>t: "+text), 0); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) content(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func TestOrders(t *testing.T) {
	b := newBench(t, newBatch(t))
	socket, client := b.socket("s")
	more, other := b.socket("more")
	for _, tt := range []struct {
		order nodecall.Order
		files []handover.Passed
		want  string // of the error
	}{
		{nodecall.Order{Number: 1, Operation: nodecall.Count, ID: 7}, nil, "container 7 is unknown"},
		{nodecall.Order{Number: 2, Operation: "dance"}, nil, "unsupported operation"},
		{nodecall.Order{Number: 3, Operation: nodecall.Add, ID: 7, Args: []string{"a", "s/x"}}, []handover.Passed{socket}, "cannot"},
		{nodecall.Order{Number: 4, Operation: nodecall.Add, ID: 7, Args: []string{"a", "m"}}, []handover.Passed{socket}, ""},
		{nodecall.Order{Number: 5, Operation: nodecall.Add, ID: 7, Args: []string{"a", "m"}}, []handover.Passed{socket}, "container 7 exists already"},
		{nodecall.Order{Number: 6, Operation: nodecall.Receive, ID: 7}, []handover.Passed{more}, ""},
		{nodecall.Order{Number: 7, Operation: nodecall.Say, ID: 7, Severity: 5, Text: "said"}, nil, ""},
		{nodecall.Order{Number: 8, Operation: nodecall.Reload}, nil, ""},
		{nodecall.Order{Number: 9, Operation: nodecall.Retire, ID: 7, Socket: 1}, nil, ""}, // none of its own
	} {
		if got := b.order(tt.order, tt.files...); tt.want == "" && got.Error != "" || !strings.Contains(got.Error, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.order, got.Error, tt.want)
		}
	}
	b.send(client, "one")
	b.send(other, "two")
	b.run()
	if got := b.order(nodecall.Order{Number: 10, Operation: nodecall.Count, ID: 7}); got.Received != 2 || got.Lost != 0 {
		t.Errorf("%+v", got)
	}
	b.send(client, "last")
	if got := b.order(nodecall.Order{Number: 11, Operation: nodecall.End, ID: 7}); got.Received != 3 || got.Error != "" {
		t.Errorf("%+v", got)
	}
	if got := b.content("m"); !strings.Contains(got, "said\n") || strings.Count(got, " t: ") != 3 || !strings.HasSuffix(got, " a t: last\n") {
		t.Errorf("%q", got)
	}
	if got := b.order(nodecall.Order{Number: 12, Operation: nodecall.Count, ID: 7}); got.Error == "" {
		t.Error("the container is known after its end")
	}
}

// Where nobody keeps the sockets, a reader that leaves has written what they had queued, and no message
// can be sent to them any more, unless a hook has them still.
func TestLastReader(t *testing.T) {
	b := newBench(t, newBatch(t))
	socket, client := b.socket("s")
	hooks, other := b.socket("t")
	held, err := unix.Dup(int(hooks.File.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	b.order(nodecall.Order{Number: 1, Operation: nodecall.Add, ID: 7, Args: []string{"a", "m"}}, socket)
	b.order(nodecall.Order{Number: 2, Operation: nodecall.Add, ID: 8, Args: []string{"b", "n"}}, hooks)
	b.order(nodecall.Order{Number: 3, Operation: nodecall.Confirm, ID: 7})
	for range 5 {
		b.send(client, "queued")
		b.send(other, "x")
	}
	b.reader.Leave()
	if got := b.content("m"); strings.Count(got, "queued\n") != 5 {
		t.Errorf("%q", got)
	}
	if _, err := unix.Write(client, []byte("late")); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a message is taken that nobody reads: %v", err)
	}
	// A hook that has not confirmed has another receiver read it.
	if n, err := unix.Read(held, make([]byte, 99)); n == 0 || err != nil {
		t.Errorf("what a hook's socket had is lost: %v", err)
	}
	b.send(other, "late")
}

// A reader that leaves has written what the connections of stream sockets had sent: they end with it.
func TestReaderHangsUp(t *testing.T) {
	t.Setenv(notify.Variable, "/nobody") // who keeps the sockets
	b := newBench(t, newBatch(t))
	at := &unix.SockaddrUnix{Name: filepath.Join(b.dir, "s")}
	var fds [2]int
	for i := range fds {
		var err error
		if fds[i], err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			t.Fatal(err)
		}
	}
	socket := handover.Passed{File: os.NewFile(uintptr(fds[0]), "s"), Name: handover.NameSocket}
	t.Cleanup(func() { _, _ = socket.File.Close(), unix.Close(fds[1]) })
	if err := errors.Join(unix.Bind(fds[0], at), unix.Listen(fds[0], 5), unix.Connect(fds[1], at)); err != nil {
		t.Fatal(err)
	}
	b.order(nodecall.Order{Number: 1, Operation: nodecall.Add, ID: 7, Args: []string{"a", "m"}}, socket)
	b.run()
	b.send(fds[1], "first\n")
	b.run()
	b.send(fds[1], "queued\n")
	b.reader.Leave()
	if got := b.content("m"); strings.Count(got, "first\n") != 1 || strings.Count(got, "queued\n") != 1 {
		t.Errorf("%q", got)
	}
	if _, err := unix.Write(fds[1], []byte("late")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("a message is taken that nobody reads: %v", err)
	}
}

// A reader that leaves has written what it read, and the next reads the rest. What the outputs of a
// killed one have not written is known to the next.
func TestNextReader(t *testing.T) {
	t.Setenv(notify.Variable, "/nobody") // who keeps the sockets
	batch := newBatch(t)
	first := newBench(t, batch)
	socket, client := first.socket("s")
	add := nodecall.Order{Number: 1, Operation: nodecall.Add, ID: 7, Args: []string{"a", "m"}}
	first.order(add, socket)
	first.send(client, "one")
	first.run()
	first.reader.Leave()
	first.send(client, "two")
	next := newBench(t, batch)
	next.dir = first.dir
	next.order(add, socket)
	next.run()
	if got := next.content("m"); !strings.Contains(got, "one\n") || !strings.HasSuffix(got, "two\n") || strings.Contains(got, "lost") {
		t.Errorf("%q", got)
	}
	if got := next.order(nodecall.Order{Number: 2, Operation: nodecall.Count, ID: 7}); got.Received != 1 {
		t.Errorf("%+v: without the order's word, the counts are another container's", got)
	}
}

// After a kill the next reader continues with the counts of each container, with what the one before had
// read and its outputs had not written as lost.
func TestKilled(t *testing.T) {
	batch := newBatch(t)
	first := newBench(t, batch)
	socket, client := first.socket("s")
	more, other := first.socket("t")
	add := []nodecall.Order{{Number: 1, Operation: nodecall.Add, ID: 7, Args: []string{"a", "m"}}, {Number: 2, Operation: nodecall.Add, ID: 8, Args: []string{"b", "n"}}}
	first.order(add[0], socket)
	first.order(add[1], more)
	for range 3 {
		first.send(client, "x")
	}
	first.send(other, "y")
	first.run()
	first.reader.receivers[7].record.pending = 4 // as with a full disk
	first.reader.kept.head.marks.Number, first.reader.kept.head.marks.Entries = 8, 5
	for range 2 { // the second is killed at once
		k, err := OpenKept(batch)
		if err != nil || k.records[8].lost != 5 || k.records[7].lost != 0 || k.records[7].pending != 4 {
			t.Fatalf("%+v, %v", k.records, err)
		}
	}
	next := newBench(t, batch)
	next.dir = first.dir
	for i, s := range []handover.Passed{socket, more} {
		add[i].Again = true
		next.order(add[i], s)
	}
	for _, tt := range []struct {
		id, received, lost uint64
		file, said         string
	}{{7, 3, 4, "m", "up to 4 messages lost"}, {8, 6, 5, "n", "up to 5 messages lost"}} {
		got := next.order(nodecall.Order{Number: 3, Operation: nodecall.Count, ID: tt.id})
		if got.Received != tt.received || got.Lost != tt.lost {
			t.Errorf("%+v, want %+v", got, tt)
		}
		if text := next.content(tt.file); strings.Count(text, tt.said) != 1 {
			t.Errorf("%q", text)
		}
	}
	last, err := OpenKept(batch)
	if err != nil || last.records[8].lost != 0 || last.records[7].pending != 0 || last.records[8].counts[0] != 6 {
		t.Errorf("they are counted twice: %+v, %v", last.records, err)
	}
	last.drop(7)
	if r := last.record(9); r == nil || r.id != 9 || r.counts[0] != 0 || last.head.used != 2 {
		t.Errorf("a record is not used again: %+v", r)
	}
}
