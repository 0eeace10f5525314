package sink

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output/outputtest"

	"golang.org/x/sys/unix"
)

// openTestStream opens a stream; the descriptors to wait for go to waits, the
// problems to problems.
func openTestStream(o StreamOptions) (s *Stream, waits *[]int, problems *[]string) {
	waits, problems = new([]int), new([]string)
	o.Notice = outputtest.Notice
	o.Wake = func(fd int) { *waits = append(*waits, fd) }
	o.Problem = func(err error) { *problems = append(*problems, err.Error()) }
	return OpenStream(o), waits, problems
}

func makeFIFO(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openReader opens a file for reading without waiting.
func openReader(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// readAll reads what is there.
func readAll(fd int) string {
	var text strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return text.String()
		}
		text.Write(buf[:n])
	}
}

// fill adds numbered messages of a size until one is lost, and returns how
// many there are.
func fill(t *testing.T, s *Stream, size int) int {
	t.Helper()
	for n := 1; n < 1_000_000; n++ {
		s.Add(outputtest.Message(fmt.Sprintf("%06d%s", n, strings.Repeat("x", size-7))))
		s.Flush(time.Now())
		if len(s.Counts().Lost) > 0 {
			return n
		}
	}
	t.Fatal("nothing is ever lost")
	return 0
}

// wantNumbered checks that the lines are messages 1 to n, whole and in order.
func wantNumbered(t *testing.T, text string, n int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != n {
		t.Errorf("%d lines, want %d", len(lines), n)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, fmt.Sprintf("%06d", i+1)) || len(line) != len(lines[0]) {
			t.Fatalf("line %d is %.20q, %d bytes", i+1, line, len(line))
		}
	}
}

// A FIFO that nobody reads, and then somebody does: what was kept comes in
// order and whole, then how much was lost.
func TestFIFO(t *testing.T) {
	for _, size := range []int{100, 3000, 10000} { // the last is more than one piece
		path := makeFIFO(t)
		s, waits, problems := openTestStream(StreamOptions{Kind: FIFO, Path: path})
		n := fill(t, s, size)
		if len(*waits) != 1 || !s.Waits() || !s.Next().IsZero() {
			t.Errorf("waits for %v, next %v", *waits, s.Next())
		}
		fd := openReader(t, path)
		text := ""
		for range 1000 {
			if text += readAll(fd); strings.Contains(text, "NOTICE") {
				break
			}
			s.Flush(time.Now())
		}
		text, notice, _ := strings.Cut(text, "NOTICE ")
		if notice != "1 messages lost (pipe full)\n" {
			t.Errorf("size %d: notice %q", size, notice)
		}
		wantNumbered(t, text, n-1)
		outputtest.WantCounts(t, s, fmt.Sprintf("%d 0 pipe full=1", n-1))
		s.Add(outputtest.Message("after"))
		s.Flush(time.Now())
		if got := readAll(fd); got != "after\n" || len(*problems) > 0 {
			t.Errorf("%q, problems %q", got, *problems)
		}
		s.Close()
	}
}

// A reader's end is not an error: the next reader continues. What nobody has read at the end is
// lost.
func TestFIFOReaderEnds(t *testing.T) {
	path := makeFIFO(t)
	s, _, _ := openTestStream(StreamOptions{Kind: FIFO, Path: path})
	fd := openReader(t, path)
	write := func(texts ...string) {
		for _, text := range texts {
			s.Add(outputtest.Message(text))
		}
		s.Flush(time.Now())
	}
	write("a")
	if got := readAll(fd); got != "a\n" {
		t.Errorf("%q", got)
	}
	unix.Close(fd)
	write("b")
	fd = openReader(t, path)
	if got := readAll(fd); got != "b\n" {
		t.Errorf("the next reader: %q", got)
	}
	write("c", "d")
	unix.Close(fd)
	s.Close()
	outputtest.WantCounts(t, s, "2 0 read by nobody=2")

	s, _, _ = openTestStream(StreamOptions{Kind: FIFO, Path: path})
	fd = openReader(t, path)
	write("e")
	s.Close()
	outputtest.WantCounts(t, s, "1 0")
	if got := readAll(fd); got != "e\n" {
		t.Errorf("after the end: %q", got)
	}
}

// A missing FIFO is reported once, and opened when it appears.
func TestFIFOAppears(t *testing.T) {
	path := makeFIFO(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s, _, problems := openTestStream(StreamOptions{Kind: FIFO, Path: path})
	now := time.Now()
	s.Flush(now)
	if want := "cannot open the pipe " + path + ": no such file or directory; hint: make one with mkfifo"; len(*problems) != 1 || (*problems)[0] != want || !s.Next().IsZero() {
		t.Errorf("%q, next %v", *problems, s.Next())
	}
	s.Add(outputtest.Message("a"))
	for range 20 {
		now = s.Next()
		s.Flush(now)
	}
	if d := s.Next().Sub(now); d != lastOpen || len(*problems) != 1 {
		t.Errorf("tries again after %v; %q", d, *problems)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reopen(now)
	outputtest.WantCounts(t, s, "0 1")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reopen(now) // at once
	if got := readAll(openReader(t, path)); got != "a\n" {
		t.Errorf("%q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Add(outputtest.Message("b"))
	s.Flush(now.Add(2 * lookTime))
	if got := readAll(openReader(t, path)); got != "b\n" {
		t.Errorf("another pipe of that name: %q", got)
	}
}

// Standard outputs of each kind: processes that share one notice nothing.
func TestStdout(t *testing.T) {
	flags := func(fd int) int {
		t.Helper()
		n, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, ends := range standardOutputs(t) {
		s, _, problems := openTestStream(StreamOptions{Kind: Stdout})
		s.open = func() (stream, error) { return openStdout(ends[1]) }
		before := flags(ends[1])
		n := fill(t, s, 1000)
		if flags(ends[1]) != before {
			t.Errorf("%s: the flags were %o and are %o", name, before, flags(ends[1]))
		}
		text := ""
		for !strings.HasSuffix(text, "NOTICE 1 messages lost (standard output blocked)\n") && len(text) < 10<<20 {
			more := readAll(ends[0])
			text += more
			s.Flush(time.Now())
			if more == "" && !s.Waits() {
				break
			}
		}
		text, notice, _ := strings.Cut(text, "NOTICE ")
		if notice == "" || len(*problems) > 0 {
			t.Errorf("%s: notice %q, problems %q", name, notice, *problems)
		}
		wantNumbered(t, text, n-1)
		unix.Close(ends[0])
		s.Add(outputtest.Message("closed"))
		s.Flush(time.Now())
		outputtest.WantCounts(t, s, fmt.Sprintf("%d 1 standard output blocked=1", n-1))
		s.Close()
		unix.Close(ends[1])
	}
}

// Without /proc, a pipe is written to only if that does not wait.
func TestSharedPipe(t *testing.T) {
	ends := pipe(t)
	defer unix.Close(ends[0])
	s, _, _ := openTestStream(StreamOptions{Kind: Stdout})
	s.open = func() (stream, error) { return wrap(ends[1], true), nil }
	n := fill(t, s, 1000)
	if err := unix.SetNonblock(ends[0], true); err != nil {
		t.Fatal(err)
	}
	text := ""
	for range 1000 {
		text += readAll(ends[0])
		s.Flush(time.Now())
	}
	text, _, _ = strings.Cut(text, "NOTICE ")
	wantNumbered(t, text, n-1)
	s.Close()
}

// A file shares its offset with other processes that append to it.
func TestStdoutFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, _, _ := openTestStream(StreamOptions{Kind: Stdout})
	s.open = func() (stream, error) { return openStdout(int(f.Fd())) }
	for _, text := range []string{"a", "b"} {
		fmt.Fprintln(f, "theirs")
		s.Add(outputtest.Message(text))
		s.Flush(time.Now())
	}
	s.Close()
	fmt.Fprintln(f, "last")
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "theirs\na\ntheirs\nb\nlast\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestStreamNoAllocation(t *testing.T) {
	path := makeFIFO(t)
	s, _, _ := openTestStream(StreamOptions{Kind: FIFO, Path: path})
	fd := openReader(t, path)
	m, now, buf := outputtest.Message("hello"), time.Now(), make([]byte, 100)
	if n := testing.AllocsPerRun(1000, func() {
		s.Add(m)
		s.Flush(now)
		if n, err := unix.Read(fd, buf); err != nil || n != 6 {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkStream(b *testing.B) {
	s := newStream(StreamOptions{Notice: outputtest.Notice}, func() (stream, error) {
		fd, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		return wrap(fd, false), err
	})
	m := outputtest.Message("Feb  3 04:05:06 box cron[12]: (root) CMD (run-parts --report /etc/cron.hourly)")
	now := time.Now()
	for b.Loop() {
		s.Add(m)
		s.Flush(now)
	}
}
