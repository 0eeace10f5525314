package devlogd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tryFill sends until the queue is full, and returns how many messages that were.
func tryFill(t *testing.T, fd int, text string) (n int) {
	t.Helper()
	for {
		err := unix.Send(fd, []byte(text), unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if n++; n > 100000 {
			t.Fatal("nobody stops the sender")
		}
	}
}

// Only the sender that exceeds the rate waits, and nothing is lost.
func TestRateBlocks(t *testing.T) {
	dir := t.TempDir()
	sock, other, log := filepath.Join(dir, "s"), filepath.Join(dir, "o"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--listen", other, "--name", "box", "--rule", "*.* -"+log, "--rate", "20/m")
	fd := dial(t, sock)
	sent := 0
	// 20 at once, then 1 in 3 s: the queue fills up, whatever its length.
	eventually(t, "the sender is stopped", func() bool {
		sent += tryFill(t, fd, "<13>flood")
		return strings.Contains(content(t, log), "more than 20/m messages: their senders wait\n")
	})
	before := strings.Count(content(t, log), "box flood\n")
	if before < 20 || before > 40 || sent < before {
		t.Errorf("%d written of %d", before, sent)
	}
	send(t, dial(t, other), "<13>other")
	await(t, log, "box other\n")
	d.signal(unix.SIGUSR1)
	await(t, log, ", senders waited ")
	d.stop()
	text := content(t, log)
	if n := strings.Count(text, "box flood\n"); n != sent {
		t.Errorf("%d sent, %d written", sent, n)
	}
	if n := strings.Count(text, "their senders wait"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// A sender that waits continues without another event.
func TestRateGoesOn(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rate", "100/s", "--overflow", "block")
	fd := dial(t, sock)
	for i := range 150 {
		send(t, fd, fmt.Sprintf("<13>m%d.", i))
	}
	await(t, log, "m149.")
	d.stop()
	if n := strings.Count(content(t, log), "box m"); n != 150 {
		t.Errorf("%d written", n)
	}
}

// Messages above the rate are dropped, counted, and reported once together.
func TestRateDrops(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rate", "10/m", "--overflow", "drop")
	fd := dial(t, sock)
	for range 500 {
		send(t, fd, "<13>flood")
	}
	d.signal(unix.SIGUSR1)
	await(t, log, " (more than 10/m)")
	d.stop()
	text := content(t, log)
	written := strings.Count(text, "box flood\n")
	if written < 10 || written > 30 {
		t.Errorf("%d written", written)
	}
	if want := fmt.Sprintf("]: %d messages lost (more than 10/m)\n", 500-written); strings.Count(text, want) != 1 || strings.Count(text, "messages lost") != 1 {
		t.Errorf("no %q in %q", want, text)
	}
}

// The count of dropped messages and the state of the rate survive upgrades.
func TestUpgradeLimits(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "user.* -"+log, "--rule", "syslog.* -"+log+".own",
		"--rate", "5/m", "--overflow", "drop")
	fd := dial(t, sock)
	for i := range 3 {
		for range 10 {
			send(t, fd, "<13>x")
		}
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log+".own", upgraded, i+1)
	}
	d.stop()
	if got := content(t, log); got != strings.Repeat("box x\n", 5) {
		t.Errorf("%q", got)
	}
	if got := content(t, log+".own"); strings.Count(got, "25 messages lost (more than 5/m)") != 1 {
		t.Errorf("%q", got)
	}
}
