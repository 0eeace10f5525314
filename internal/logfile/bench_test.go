package logfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/watchdog"
)

// benchFile is an output whose file stays small, however much is written.
func benchFile(b *testing.B) (f *File, shrink func()) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "log")
	f, err := openTestFile(path, Options{Notice: func(dst []byte, text string) []byte { return fmt.Append(dst, text, "\n") }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	written := 0
	return f, func() {
		if written++; written%1024 == 0 {
			if err := os.Truncate(path, 0); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// Messages of a batch, gathered and written with one write(2).
func BenchmarkFile(b *testing.B) {
	for _, messages := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("batch=%d", messages), func(b *testing.B) {
			f, shrink := benchFile(b)
			line := []byte("Feb  3 04:05:06 host app[12]: " + strings.Repeat("x", 90) + "\n")
			b.SetBytes(int64(messages * len(line)))
			b.ReportAllocs()
			for b.Loop() {
				for range messages {
					f.Add(output.Message{Line: line})
				}
				f.Flush(time.Time{})
				shrink()
			}
			if c := f.Counts(); c.Written != uint64(b.N*messages) {
				b.Errorf("%+v after %d batches", c, b.N)
			}
		})
	}
}

// The same through the watchdog, as the receiver's loop does it.
func BenchmarkGuarded(b *testing.B) {
	for _, messages := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("batch=%d", messages), func(b *testing.B) {
			f, shrink := benchFile(b)
			dog := watchdog.New(func() { b.Error("it hangs") }, func() {})
			dog.Top(true)
			g := newGuarded(f, GuardOptions{Watchdog: dog})
			line := []byte("Feb  3 04:05:06 host app[12]: " + strings.Repeat("x", 90) + "\n")
			b.SetBytes(int64(messages * len(line)))
			b.ReportAllocs()
			for b.Loop() {
				for range messages {
					g.Add(output.Message{Line: line})
				}
				g.Flush(time.Time{})
				shrink()
			}
		})
	}
}
