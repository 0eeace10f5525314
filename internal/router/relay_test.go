package router

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/relay"
)

// At the end the receiver waits for a daemon that accepts nothing at the moment.
func TestPendingUntilOfRelay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	to := relay.New(relay.Options{
		Path: path, Frame: asEntry, Wake: func(int) {}, Problem: func(err error) { t.Error(err) },
		Notice: func(string) output.Message { return output.Message{} },
	})
	defer to.Close()
	r := &Router{Routes: []Route{{Out: &recorder{}}, {Out: to}}}
	begin := time.Now()
	if next := r.PendingUntil(begin, begin); !next.IsZero() {
		t.Errorf("nothing is pending: until %v", next)
	}
	for range 10_000 {
		to.Add(output.Message{Line: []byte("x")})
	}
	r.Flush(begin)
	if next := r.PendingUntil(begin, begin); to.Counts().Pending == 0 || !next.Equal(begin.Add(readerPoll)) {
		t.Errorf("%+v: until %v", to.Counts(), next)
	}
}
