package sink

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/output/outputtest"

	"golang.org/x/sys/unix"
)

// A file is continued where it was: with half a line taken back, or continued
// if it is not the end any more, and with what was lost told.
// stubborn is a file of which the end cannot be taken back, unless it can.
// The kernel's limit is that of an open file, which is handed over with what was
// used of it.
func TestKernelState(t *testing.T) {
	k, log := newTestKernel(t)
	for i := range 15 {
		k.Add(outputtest.Message(fmt.Sprint(i)))
	}
	log.now = log.now.Add(2 * time.Second)
	s := k.State(log.now)
	if s.Written != 10 || s.Unsaid != 5 || s.FD != -1 || s.Used != 10 || s.Age < 2*time.Second {
		t.Errorf("%+v", s)
	}
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.FD = null
	l, fresh := newTestKernel(t)
	fresh.now = log.now
	l.Resume(s, fresh.now)
	if l.log != kmsg(null) {
		t.Fatalf("it writes to %v", l.log)
	}
	l.Add(outputtest.Message("withheld")) // the interval is not over
	outputtest.WantCounts(t, l, "10 0 kernel log rate limit=6")
	fresh.now = l.Next()
	if d := fresh.now.Sub(log.now); d <= 0 || d > kernelInterval {
		t.Errorf("reports after %v", d)
	}
	l.Flush(fresh.now)
	l.Add(outputtest.Message("written"))
	outputtest.WantCounts(t, l, "11 0 kernel log rate limit=6")
	if again := l.State(fresh.now); again.FD != null || again.Used != 2 || again.Unsaid != 0 {
		t.Errorf("%+v", again)
	}
	l.Close()
	if _, err := unix.FcntlInt(uintptr(null), unix.F_GETFD, 0); err == nil {
		t.Error("the log is left open")
	}

	// Without a log of its own it takes none over.
	null, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.FD = null
	denied, err := newKernel("/dev/kmsg", "box", time.Now, func() (io.WriteCloser, error) { return nil, unix.EPERM })
	if err == nil {
		t.Fatal("it could be opened")
	}
	denied.Resume(s, time.Now())
	denied.Add(outputtest.Message("x"))
	outputtest.WantCounts(t, denied, "10 0 kernel log rate limit=5 "+lostClosed+"=1")
	if _, err := unix.FcntlInt(uintptr(null), unix.F_GETFD, 0); err == nil {
		t.Error("the log is left open")
	}
}

// A FIFO stays open across an upgrade, with its unread messages.
func TestStreamState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	o := StreamOptions{Kind: FIFO, Path: path, Notice: outputtest.Notice, Wake: func(int) {}, Problem: func(err error) { t.Error(err) }}
	s := OpenStream(o)
	now := time.Now()
	s.Add(outputtest.Message("unread"))
	s.Flush(now)
	s.Add(outputtest.Message("pending"))
	state := s.State(now)
	if state.FD < 0 || string(state.Pending) != "pending\n" || state.Written != 1 {
		t.Fatalf("%+v", state)
	}
	// As the other program has it: the old descriptor is closed by execve(2).
	fd, err := unix.FcntlInt(uintptr(state.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(state.FD)
	}
	if err != nil {
		t.Fatal(err)
	}
	state.FD = fd
	next := OpenStream(o)
	next.Resume(state, now)
	next.Flush(now)
	reader, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(reader)
	buf := make([]byte, 100)
	n, err := unix.Read(reader, buf)
	if err != nil || string(buf[:n]) != "unread\npending\n" {
		t.Errorf("%q, %v", buf[:max(n, 0)], err)
	}
	outputtest.WantCounts(t, next, "2 0")
	next.Close()
	// Another pipe under the name is not the old one.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	other := OpenStream(o)
	other.Resume(output.State{FD: null}, now)
	if other.file != nil {
		t.Error("it writes to another file")
	}
	if _, err := unix.FcntlInt(uintptr(null), unix.F_GETFD, 0); err == nil {
		t.Error("the other file is left open")
	}
}

// The next program completes a line that was partly written to a standard output.
func TestStreamStateTorn(t *testing.T) {
	for name, ends := range standardOutputs(t) {
		open := func() *Stream {
			s, _, _ := openTestStream(StreamOptions{Kind: Stdout})
			s.open = func() (stream, error) { return openStdout(ends[1]) }
			return s
		}
		s := open()
		n := fill(t, s, 50_000)
		state := s.State(time.Now())
		if state.Torn == 0 {
			t.Errorf("%s: no line is torn", name)
		}
		next := open()
		next.Resume(state, time.Now())
		text := ""
		for end := "NOTICE 1 messages lost (standard output blocked)\n"; !strings.HasSuffix(text, end); {
			next.Flush(time.Now())
			more := readAll(ends[0])
			if text += more; more == "" {
				t.Fatalf("%s: it ends in %.100q", name, text[max(0, len(text)-100):])
			}
		}
		text, _, _ = strings.Cut(text, "NOTICE ")
		wantNumbered(t, text, n-1)
		next.Close()
		for _, fd := range ends {
			_ = unix.Close(fd)
		}
	}

	gone, _, _ := openTestStream(StreamOptions{Kind: Terminal, Path: "/nosuch/tty"})
	gone.Resume(output.State{Pending: []byte("half\n"), Torn: 3, FD: -1}, time.Now())
	gone.Flush(time.Now())
	if gone.lines.Torn() != 0 {
		t.Error("half a line goes to a terminal that was not there")
	}
}
