package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

// Whenever the end comes, what was accepted is written.
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

// A receiver that is killed loses what it had read and not written: one reading
// of a socket at most. What is queued is read by the next one, if somebody keeps
// the socket open, and nothing is written twice.
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

// As soon as one of the sockets is there, a signal to end loses nothing.
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

// What is lost at the end is said to standard error and in the kernel's log: the
// output cannot tell of it any more.
func TestLossAtTheEnd(t *testing.T) {
	said := hearKernel(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	before := stderr
	stderr = pipe[1]
	defer func() { stderr = before }()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	r := newReceiver(&options{name: "box"}, nil)
	prepared(t, r)
	out, err := logfile.Open(filepath.Join(dir, "m"), logfile.Options{Notice: r.router.Notice})
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
	closed, err := logfile.Open(filepath.Join(t.TempDir(), "m"), logfile.Options{Notice: r.router.Notice})
	if err != nil {
		t.Fatal(err)
	}
	*said = ""
	if r.sayLost(router.Close(closed)); *said != "" {
		t.Errorf("nothing is lost: %q", *said)
	}
}

// A receiver that cannot go on says so where the messages are.
func TestFail(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+file), nil })
	prepared(t, r)
	if err := r.openOutputs(); err != nil {
		t.Fatal(err)
	}
	if err := r.fail(unix.ENOMEM); !errors.Is(err, unix.ENOMEM) {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasSuffix(string(text), "]: ends: cannot allocate memory\n") {
		t.Errorf("%q, %v", text, err)
	}
}
