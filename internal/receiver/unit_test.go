package receiver

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// everything returns a receiver with every option that costs something for a message.
func everything(t *testing.T) *Receiver {
	t.Helper()
	dir := t.TempDir()
	r := newReceiver(t, Config{Name: "box", Compress: true, Rules: func() ([]syslogconf.Rule, error) {
		return rules(t, "!-sshd *.* -"+dir+"/a;sender", "*.* -"+dir+"/b;JSON,rotate=1G:3,gzip", ":msg, contains, \"world\" *.* -"+dir+"/c;RFC5424"), nil
	}})
	if err := r.OpenOutputs(nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// With every option, a message allocates no memory.
func TestEverythingDoesNotAllocate(t *testing.T) {
	r := everything(t)
	fd := receiving(t, r)
	raw := []byte(fmt.Sprintf("<30>Feb  3 04:05:06 cron[%d]: hello world 0", os.Getpid()))
	if n := testing.AllocsPerRun(200, func() {
		for i := range 4 {
			raw[len(raw)-1] = byte('0' + i)
			if _, err := unix.Write(fd, raw); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.process.Loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}); n > 0.05 { // the times of a new second
		t.Errorf("%v allocations", n)
	}
	for _, route := range r.router.Routes {
		if got := route.Out.Counts(); got.Written != 4*201 || r.counts.Received != 4*201 {
			t.Errorf("%s: %+v of %d", route.Out.Name(), got, r.counts.Received)
		}
	}
}

func TestRoute(t *testing.T) {
	a, b := &recorder{keep: true}, &recorder{keep: true}
	r := withRoutes(t,
		router.Route{Out: a, Rules: rules(t, "*.info -/a", "mail.* /a")},
		router.Route{Out: b, Rules: rules(t, "mail.err /b")})
	for _, m := range []string{"<14>x: y", "<15>x: debug", "<19>m: bad", "<23>m: debug"} {
		r.handle([]byte(m), false, syslog.Sender{})
	}
	if want := []string{"box x: y\n", "box m: bad\n", "box m: debug\n"}; !slices.Equal(a.lines, want) || !slices.Equal(a.sync, []bool{false, true, true}) {
		t.Errorf("%q %v", a.lines, a.sync)
	}
	if want := []string{"box m: bad\n"}; !slices.Equal(b.lines, want) {
		t.Errorf("%q", b.lines)
	}
	if r.counts.Routed != 3 || r.counts.Unrouted != 1 {
		t.Errorf("routed %d, unrouted %d", r.counts.Routed, r.counts.Unrouted)
	}
}

func TestHandleDoesNotAllocate(t *testing.T) {
	s := &recorder{}
	r := withRoutes(t, router.Route{Out: s, Rules: rules(t, "*.info -/a")}, router.Route{Out: s, Rules: rules(t, "*.crit /dev/kmsg")})
	raw := []byte("<30>Feb  3 04:05:06 cron[12]: hello world")
	if n := testing.AllocsPerRun(1000, func() { r.router.At(time.Now()); r.handle(raw, false, syslog.Sender{}) }); n > 0.01 {
		t.Errorf("%v allocations", n)
	}
	if s.count == 0 {
		t.Error("nothing was passed on")
	}
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	s := &recorder{}
	r := withRoutes(t, router.Route{Out: s, Rules: rules(t, "*.* -/a")})
	fd := receiving(t, r)
	raw := []byte("<30>Feb  3 04:05:06 cron[12]: hello world")
	if n := testing.AllocsPerRun(200, func() {
		for range 3 {
			if _, err := unix.Write(fd, raw); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.process.Loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}); n > 0.01 {
		t.Errorf("%v allocations", n)
	}
	if r.counts.Received != 603 || s.count != 603 {
		t.Errorf("received %d, passed on %d", r.counts.Received, s.count)
	}
}

func BenchmarkHandle(b *testing.B) {
	r := withRoutes(b, router.Route{Out: &recorder{}, Rules: rules(b, "*.info -/a")}, router.Route{Out: &recorder{}, Rules: rules(b, "*.crit /dev/kmsg")})
	raw := []byte("<30>Feb  3 04:05:06 cron[12]: (root) CMD (run-parts --report /etc/cron.hourly)")
	now := time.Now()
	for b.Loop() {
		r.router.At(now)
		r.handle(raw, false, syslog.Sender{})
	}
}

func TestSay(t *testing.T) {
	a := &recorder{keep: true}
	r := withRoutes(t, router.Route{Out: a, Rules: rules(t, "syslog.=warning -/a")})
	r.Say(syslog.Warning, "text")
	r.Account()
	if len(a.lines) != 1 || !strings.HasSuffix(a.lines[0], "box devlogd[7]: text\n") {
		t.Errorf("%q", a.lines)
	}
}
