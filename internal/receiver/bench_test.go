package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/logfile"
	"devlog/internal/router"
	"devlog/internal/watchdog"

	"golang.org/x/sys/unix"
)

// The whole way of a message from the socket to the file, with the sender's write(2).
func BenchmarkReceive(b *testing.B) {
	for _, messages := range []int{1, 8} {
		b.Run(fmt.Sprintf("batch=%d", messages), func(b *testing.B) { benchReceive(b, messages) })
	}
}

func benchReceive(b *testing.B, messages int) {
	r := withRoutes(b)
	fd := receiving(b, r)
	path := filepath.Join(b.TempDir(), "log")
	dog := watchdog.New(func() {}, func() {})
	dog.Top(true)
	out, err := logfile.OpenGuarded(path, logfile.Options{Notice: r.router.Notice}, logfile.GuardOptions{Watchdog: dog})
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	r.router.Routes = []router.Route{{Out: out, Rules: rules(b, "*.* -/a")}}
	raw := []byte("<14>Feb  3 04:05:06 app[1000]: " + strings.Repeat("x", 89))
	b.SetBytes(int64(messages * len(raw)))
	b.ReportAllocs()
	for n := 1; b.Loop(); n++ {
		for range messages {
			if _, err := unix.Write(fd, raw); err != nil {
				b.Fatal(err)
			}
		}
		if err := r.process.Loop.RunOnce(); err != nil {
			b.Fatal(err)
		}
		if n%8192 == 0 { // the file stays small
			if err := os.Truncate(path, 0); err != nil {
				b.Fatal(err)
			}
		}
	}
	if want := uint64(b.N * messages); out.Counts().Written != want {
		b.Errorf("%+v after %d messages", out.Counts(), want)
	}
}
