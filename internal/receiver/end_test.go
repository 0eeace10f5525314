package receiver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

// Losses at the end are reported on standard error and in the kernel's log: the output cannot
// report them any more.
func TestLossAtTheEnd(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	r := newReceiver(t, Config{Name: "box"})
	said := hearKernel(r)
	r.process.Stderr = pipe[1]
	out, err := logfile.OpenGuarded(filepath.Join(dir, "m"), logfile.Options{Notice: r.router.Notice}, logfile.GuardOptions{Watchdog: r.process.Watchdog})
	if err == nil {
		t.Fatal("it was opened")
	}
	for range 3000 { // so many that some do not fit
		out.Add(output.Message{Line: append(make([]byte, 1000), '\n')})
	}
	r.sayLost(router.Close(out))
	want := "devlogd: 3000 messages lost at the end: " + dir + "/m: not a directory"
	var got [256]byte
	if n, err := unix.Read(pipe[0], got[:]); err != nil || string(got[:n]) != want+"\n" || *said != want {
		t.Errorf("%q, %v; the kernel's log has %q; want %q", got[:max(n, 0)], err, *said, want)
	}
	closed, err := logfile.OpenGuarded(filepath.Join(t.TempDir(), "m"), logfile.Options{Notice: r.router.Notice}, logfile.GuardOptions{Watchdog: r.process.Watchdog})
	if err != nil {
		t.Fatal(err)
	}
	*said = ""
	if r.sayLost(router.Close(closed)); *said != "" {
		t.Errorf("nothing is lost: %q", *said)
	}
}

// A receiver that cannot continue logs the reason among the messages.
func TestFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	r := newReceiver(t, Config{Name: "box", Rules: func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+file), nil }})
	if err := r.OpenOutputs(nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Fail(unix.ENOMEM); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("%v", err)
	}
	if next := r.Rest(time.Now()); !next.IsZero() {
		t.Errorf("something is left until %v", next)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasSuffix(string(text), "]: ends: cannot allocate memory\n") {
		t.Errorf("%q, %v", text, err)
	}
}
