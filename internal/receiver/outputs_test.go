package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslogconf"
)

func TestOpenOutput(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		action syslogconf.Action
		want   string
	}{
		{syslogconf.Action{Kind: syslogconf.File, Path: dir + "//m"}, "*logfile.Guarded " + dir + "/m"},
		{syslogconf.Action{Kind: syslogconf.Kernel, Path: "/dev/kmsg"}, "*sink.Kernel /dev/kmsg"},
		{syslogconf.Action{Kind: syslogconf.FIFO, Path: "/f/"}, "*sink.Stream /f"},
		{syslogconf.Action{Kind: syslogconf.Terminal, Path: "/dev/console"}, "*sink.Stream /dev/console"},
		{syslogconf.Action{Kind: syslogconf.Stdout}, "*sink.Stream stdout"},
		{syslogconf.Action{Kind: syslogconf.ContainerStdout}, "*sink.Stream container-stdout"},
	} {
		r := newReceiver(t, Config{})
		tt.action.Path = tt.action.Place()
		out, _, err := r.router.Open(syslogconf.Rule{Action: tt.action}, "box")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%T %s", out, out.Name()); got != tt.want || out.Name() != tt.action.Path {
			t.Errorf("%+v: got %s, want %s", tt.action, got, tt.want)
		}
		out.Close()
	}
}

// A blocked stream wakes the loop when it accepts data again, and not before.
func TestWake(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r := withRoutes(t)
	woken := 0
	r.round = eventloop.NewTask(func() { woken++ })
	out, _, err := r.router.Open(syslogconf.Rule{Action: syslogconf.Action{Kind: syslogconf.FIFO, Path: fifo}}, "box")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	line := []byte(strings.Repeat("x", 4095) + "\n")
	for range 40 {
		out.Add(output.Message{Line: line})
		out.Flush(time.Now())
	}
	once := func() {
		t.Helper()
		if err := r.process.Loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}
	if once(); woken > 0 {
		t.Errorf("woken %d times while nobody reads", woken)
	}
	if !out.Next().IsZero() || out.Counts().Pending == 0 {
		t.Errorf("next %v, %d pending", out.Next(), out.Counts().Pending)
	}
	f, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if once(); woken != 1 {
		t.Fatalf("woken %d times once somebody reads", woken)
	}
	before := out.Counts().Written
	out.Flush(time.Now())
	if got := out.Counts().Written; got == before {
		t.Error("nothing more is written")
	}
}

// A problem of an output is reported to the other outputs, or, without another, to the kernel's
// log.
func TestSayProblems(t *testing.T) {
	s := &recorder{keep: true}
	r := withRoutes(t, router.Route{Out: s, Rules: rules(t, "*.* -/a")})
	out, _, err := r.router.Open(syslogconf.Rule{Action: syslogconf.Action{Kind: syslogconf.FIFO, Path: "/nosuch/fifo"}}, "box")
	if err != nil {
		t.Fatal(err)
	}
	r.router.Routes = append(r.router.Routes, router.Route{Out: out, Rules: rules(t, "*.* -/b")})
	for range 2 {
		r.Flush(time.Now())
	}
	const want = "box devlogd[7]: cannot open the pipe /nosuch/fifo: no such file or directory; hint: make one with mkfifo; trying again, what is lost is counted\n"
	if len(s.lines) != 1 || !strings.HasSuffix(s.lines[0], want) {
		t.Errorf("%q", s.lines)
	}
}
