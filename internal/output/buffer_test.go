package output

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slot is a file with room for that many bytes.
type slot struct {
	data []byte
	room int
}

func (s *slot) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.data, s.room = append(s.data, p[:n]...), s.room-n
	if n == 0 {
		return -1, unix.ENOSPC
	}
	return n, nil
}

func testBuffer(limit int) Buffer {
	return NewBuffer(BufferOptions{Notice: func(dst []byte, text string) []byte { return fmt.Appendf(dst, "NOTICE %s\n", text) }, Limit: limit, Slowest: time.Second})
}

func wantCounts(t *testing.T, c Counts, want string) {
	t.Helper()
	if got := fmt.Sprintf("%d %d %v %d", c.Written, c.Pending, c.Lost, c.Untold); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What exceeds the limit is lost, and reported after everything else was written.
func TestBuffer(t *testing.T) {
	b, s := testBuffer(8), &slot{room: 2}
	b.Add([]byte("aaa\n"))
	if err := b.Write(s, 100); err != nil || b.Torn() != 2 {
		t.Fatalf("%v, torn %d", err, b.Torn())
	}
	err := b.Write(s, 100)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	b.Fail(time.Now(), err)
	for range 3 {
		b.Add([]byte("bbb\n"))
	}
	wantCounts(t, b.Counts(), "0 2 [{disk full 2}] 2")
	s.room = 100
	for b.Size() > 0 || b.TellLost() {
		if err := b.Write(s, 100); err != nil {
			t.Fatal(err)
		}
	}
	wantCounts(t, b.Counts(), "2 0 [{disk full 2}] 0")
	if want := "aaa\nbbb\nNOTICE 2 messages lost (disk full)\n"; string(s.data) != want {
		t.Errorf("%q, want %q", s.data, want)
	}
}

// While a buffer is in use elsewhere, another one stands in, and each message of both is
// counted.
func TestBufferTake(t *testing.T) {
	b, queue := testBuffer(100), testBuffer(8)
	queue.Block(Cause("slow"))
	var o Outline
	b.Add([]byte("aaa\n"))
	b.Note(&o)
	for range 4 {
		queue.Add([]byte("bbb\n"))
	}
	want := "0 3 [{slow 2}] 2"
	wantCounts(t, queue.CountsAfter(&o), want)
	b.Take(&queue)
	wantCounts(t, b.Counts(), want)
	wantCounts(t, queue.Counts(), "0 0 [] 0")
	if b.Size() != 12 || o.Size() != 4 || !queue.Stuck() {
		t.Errorf("%d and %d bytes, stuck %v", b.Size(), o.Size(), queue.Stuck())
	}
	if n := testing.AllocsPerRun(10, func() { b.Note(&o) }); n > 0.1 {
		t.Errorf("%v allocations", n)
	}
}

// What an output was told of losses keeps its reason if its predecessor had none.
func TestBufferResume(t *testing.T) {
	b, earlier := testBuffer(4), testBuffer(4)
	b.Block(unix.ENOSPC)
	for range 2 {
		b.Add([]byte("bbb\n"))
	}
	b.Resume(earlier.State())
	s := &slot{room: 100}
	for b.Size() > 0 || b.TellLost() {
		if err := b.Write(s, 100); err != nil {
			t.Fatal(err)
		}
	}
	if want := "bbb\nNOTICE 1 messages lost (disk full)\n"; string(s.data) != want {
		t.Errorf("%q, want %q", s.data, want)
	}
}
