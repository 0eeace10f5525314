package devlogd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Whenever the receiver ends, it has written what it accepted.
func TestEndAtAnyPoint(t *testing.T) {
	for round := range 11 {
		dir := t.TempDir()
		sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
		d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
		f := startFlood(t, sock, 4)
		eventually(t, "messages", func() bool { return f.total() > 137*round })
		if round%2 == 0 {
			d.signal(unix.SIGTERM)
		} else {
			d.signal(unix.SIGINT)
		}
		if code := d.wait(); code != 0 || d.stderr.Len() > 0 {
			t.Errorf("exit code %d, stderr %q", code, &d.stderr)
		}
		f.end()
		f.check(content(t, log))
	}
}

// A killed receiver loses at most one batch, which it had read and not written. If the socket
// stays open, the next receiver reads what is queued. Nothing is written twice.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "m")
	path, s := passedSocket(t, dir)
	f := startFlood(t, path, 4)
	const kills = 5
	for i := range kills {
		d := startReady(t, []passed{s}, "--name", "box", "--rule", "*.* -"+log)
		before := f.total()
		eventually(t, "messages", func() bool { return f.total() > before+1000*(i+1) })
		d.signal(unix.SIGKILL)
		if code := d.wait(); code != -1 {
			t.Fatalf("exit code %d", code)
		}
	}
	d := startReady(t, []passed{s}, "--name", "box", "--rule", "*.* -"+log)
	f.stop.Store(true)
	f.senders.Wait()
	d.stop()
	lines := strings.Split(content(t, log), "\n")
	seen := map[string]bool{}
	for _, line := range lines {
		if seen[line] && line != "" {
			t.Errorf("twice: %q", line)
		}
		seen[line] = true
	}
	lost := f.total() - strings.Count(strings.Join(lines, "\n"), ": ")
	if lost < 0 || lost > kills*8*64 {
		t.Errorf("%d messages lost by %d kills", lost, kills)
	}
	t.Logf("%d messages of %d lost by %d kills", lost, f.total(), kills)
	if err := f.failed.Load(); err != nil {
		t.Errorf("a send failed: %v", err)
	}
}

// From the moment a socket exists, a signal to end loses nothing.
func TestEndDuringStart(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
		args := []string{"--name", "box", "--rule", "*.* -" + log, "--listen", sock}
		for i := range 100 {
			args = append(args, "--listen", fmt.Sprint(sock, i))
		}
		d := startCommand(t, command(args...))
		eventually(t, "a socket", func() bool { _, err := os.Lstat(sock); return err == nil })
		send(t, dial(t, sock), "<13>x")
		d.signal(unix.SIGTERM)
		if code := d.wait(); code != 0 || content(t, log) != "box x\n" {
			t.Fatalf("exit code %d, %q", code, content(t, log))
		}
		if left, err := filepath.Glob(sock + "*"); err != nil || len(left) > 0 {
			t.Errorf("sockets are left: %q, %v", left, err)
		}
	}
}
