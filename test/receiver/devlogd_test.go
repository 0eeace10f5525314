package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"devlog/test/host"
)

// NewReceiver starts a devlogd in dir that writes everything to a file.
func NewReceiver(t *testing.T, dir string) *host.Receiver {
	t.Helper()
	r := &host.Receiver{T: t, Socket: filepath.Join(dir, "log"), File: filepath.Join(dir, "messages"), Done: make(chan struct{}), ErrOut: new(bytes.Buffer)}
	r.Start([]string{"--listen", r.Socket, "--rule", "*.* " + r.File}, nil)
	return r
}

// Messages that were sent before a SIGTERM are written.
func TestReceiverDrains(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	var sent atomic.Int64
	var senders sync.WaitGroup
	for s := range 4 {
		fd := r.Connect()
		senders.Add(1)
		go func() {
			defer senders.Done()
			for i := 0; ; i++ {
				if err := host.Send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 s%d: message %d.", s, i)); err != nil {
					return // it has ended
				}
				sent.Add(1)
			}
		}()
	}
	host.Eventually(t, "3000 messages are sent", func() bool { return sent.Load() >= 3000 })
	r.Signal(syscall.SIGTERM)
	if code, errOut := r.Wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	senders.Wait()
	got, err := os.ReadFile(r.File)
	host.Check(t, err)
	if n := int64(bytes.Count(got, []byte(": message "))); n != sent.Load() {
		t.Errorf("%d messages written of %d sent", n, sent.Load())
	}
	if _, err := os.Lstat(r.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// On SIGHUP it writes to a new file of the old name, and loses nothing.
func TestReceiverReopens(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	fd := r.Connect()
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: before"))
	host.WantOnce(t, r.File, "before")
	host.Check(t, os.Rename(r.File, r.File+".1"))
	r.Signal(syscall.SIGHUP)
	sent := 0
	host.Eventually(t, "a new file", func() bool {
		host.Check(t, host.Send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 t: after %d.", sent)))
		sent++
		_, err := os.Stat(r.File)
		return err == nil
	})
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: last"))
	host.WantOnce(t, r.File, "last")
	old, err := os.ReadFile(r.File + ".1")
	host.Check(t, err)
	now, err := os.ReadFile(r.File)
	host.Check(t, err)
	for i := range sent {
		if n := bytes.Count(append(old, now...), fmt.Appendf(nil, ": after %d.\n", i)); n != 1 {
			t.Errorf("message %d is written %d times", i, n)
		}
	}
}

// Each message is one line of printable text, whatever its bytes.
func TestReceiverEscapes(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	fd := r.Connect()
	messages := []string{
		"<13>Jan  1 00:00:00 t: begin-newline\nJan  1 00:00:00 t: end-newline",
		"<13>Jan  1 00:00:00 t: begin-nul\x00end-nul",
		"<13>Jan  1 00:00:00 t: begin-escape\x1b[2Jend-escape",
		"<13>Jan  1 00:00:00 t: begin-return\r\bend-return",
		"no priority: begin-none, end-none",
		"<13>", "", "\n", "\x00",
	}
	for _, m := range messages {
		host.Check(t, host.Send(fd, m))
	}
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: last"))
	host.WantOnce(t, r.File, "last")
	got, err := os.ReadFile(r.File)
	host.Check(t, err)
	lines := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	for _, what := range []string{"newline", "nul", "escape", "return", "none"} {
		n := 0
		for _, line := range lines {
			if strings.Contains(line, "begin-"+what) && strings.Contains(line, "end-"+what) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: on %d lines, want 1", what, n)
		}
	}
	for _, line := range lines {
		if i := strings.IndexFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }); i >= 0 {
			t.Errorf("a control character at byte %d of %q", i, line)
		}
	}
	if code := r.Cmd.ProcessState; code != nil {
		t.Errorf("devlogd has ended: %v", code)
	}
}

// A live socket is not taken over, a dead one is.
func TestReceiverDoesNotSteal(t *testing.T) {
	dir := t.TempDir()
	first := NewReceiver(t, dir)
	fd := first.Connect()
	second := NewReceiver(t, dir)
	code, errOut := second.Wait()
	if code == 0 || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, first.Socket) {
		t.Errorf("the second: exit code %d, %q", code, errOut)
	}
	host.Check(t, host.Send(fd, "<13>Jan  1 00:00:00 t: connected"))
	host.Check(t, host.Send(first.Connect(), "<13>Jan  1 00:00:00 t: new"))
	host.WantOnce(t, first.File, "connected", "new")
	first.Signal(syscall.SIGKILL)
	if code, _ := first.Wait(); code != -1 {
		t.Errorf("exit code after SIGKILL: %d", code)
	}
	third := NewReceiver(t, dir)
	host.Check(t, host.Send(third.Connect(), "<13>Jan  1 00:00:00 t: third"))
	host.WantOnce(t, third.File, "third")
}
