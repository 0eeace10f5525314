package receiver

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// reloading returns a receiver with these rules, and a function that makes it reload others.
func reloading(t *testing.T, texts ...string) (r *Receiver, reload func(texts ...string)) {
	t.Helper()
	now := texts
	load := func() ([]syslogconf.Rule, error) { return rules(t, now...), nil }
	r = newReceiver(t, Config{Name: "box", Compress: true, Rules: load})
	hearKernel(r)
	if err := r.OpenOutputs(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Flush(time.Now()) })
	return r, func(texts ...string) {
		now = texts
		r.rereadRules()
	}
}

// An output without a rule keeps its pending messages after a reload. A file with another
// rotation keeps its counts.
func TestReloadPending(t *testing.T) {
	dir := t.TempDir()
	fifo, a, b := filepath.Join(dir, "fifo"), filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, reload := reloading(t, "*.* |"+fifo, "user.* -"+a)
	for range 100 {
		r.handle([]byte("<13>t: "+strings.Repeat("x", 1000)), false, syslog.Sender{})
		r.handle([]byte("<13>t: y"), false, syslog.Sender{})
	}
	r.Flush(time.Now())
	pending := r.router.Routes[0].Out.Counts().Pending
	if pending == 0 {
		t.Fatal("nothing is pending")
	}
	reload("user.* -"+a+";rotate=1M", "*.* -"+b)
	if len(r.router.Routes) != 3 || r.router.Routes[2].Out.Counts().Pending != pending {
		t.Fatalf("%d outputs, pending %d", len(r.router.Routes), r.router.Routes[2].Out.Counts().Pending)
	}
	if c := r.router.Routes[0].Out.Counts(); c.Written != 200 || c.Pending+c.Untold > 0 {
		t.Errorf("the rotated file: %+v", c)
	}
	if text := content(t, a); strings.Count(text, "t: y\n") != 100 {
		t.Errorf("%d lines", strings.Count(text, "t: y\n"))
	}
	fd, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 1<<20); r.router.Routes[2].Out.Counts().Pending > 0; {
		if _, err := unix.Read(fd, buf); err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		r.router.Routes[2].Out.Flush(time.Now().Add(time.Minute))
	}
	if reload("*.* -" + b); len(r.router.Routes) != 1 || r.router.Routes[0].Out.Name() != b {
		t.Errorf("%d outputs", len(r.router.Routes))
	}
	if reload("*.* -"+b, "mail.* -"+b); len(r.router.Routes) != 1 || len(r.router.Routes[0].Rules) != 2 {
		t.Errorf("%+v", r.router.Routes)
	}
	if reload("*.* -"+b, "*.* -"+dir); len(r.router.Routes) != 1 || len(r.router.Routes[0].Rules) != 2 {
		t.Errorf("a rule that cannot be: %+v", r.router.Routes)
	}
}
