package receiver

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/intake"
	"devlog/internal/output"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

func TestParseOptions(t *testing.T) {
	for _, tt := range []struct {
		args, env []string
		want      string // an error, or the options
	}{
		{args: []string{"--listen", "/a", "-listen=/b", "--name=x"}, want: "[{/a 2} {/b 2}] [] x"},
		{args: []string{"--rule", "r"}, env: []string{"DEVLOG_RULE=e", "DEVLOG_NAME=n"}, want: "[] [r] n"},
		{env: []string{"DEVLOG_RULE_B=b", "DEVLOG_RULE=x\n\ny\n", "DEVLOG_RULE_A=a=1", "DEVLOG_RULES=no", "DEVLOG_LISTEN=/l"}, want: "[{/l 2}] [x y a=1 b] "},
		{env: []string{"DEVLOG_HELP=1", "DEVLOG_VERSION=x", "DEVLOG_NAME="}, want: "[] [] "},
		{env: []string{"DEVLOG_CHECK_CONFIG=maybe"}, want: "environment variable DEVLOG_CHECK_CONFIG: want true or false, not \"maybe\""},
		{args: []string{"--await-init=x"}, want: "--await-init: want true or false, not \"x\""},
		{args: []string{"--name", "x", "--", "--name", "y"}, want: "[] [] x"},
		{args: []string{"--rate", "5/m", "--overflow=drop", "--compress-repeats", "--metrics-file", "/m"}, want: "[] [] "},
		{args: []string{"--rate", "x"}, want: "--rate: rate \"x\": want a number of messages from 1 to 1000000"},
		{args: []string{"--rate", "1", "--overflow", "x"}, want: "--overflow: overflow \"x\": want block or drop"},
		{env: []string{"DEVLOG_OVERFLOW=drop"}, want: "--overflow drop without --rate: say how many messages are too many"},
		{env: []string{"DEVLOG_RATE=1/h"}, want: "environment variable DEVLOG_RATE: rate \"1/h\": want N, N/s or N/m"},
		{args: []string{"--ready-fd", "x"}, want: "--ready-fd: expected the number of a descriptor, not \"x\""},
		{args: []string{"--ready-fd", "0"}, want: "--ready-fd: expected the number of a descriptor, not \"0\""},
		{args: []string{"--rule"}, want: "--rule needs a value: see devlogd --help"},
		{args: []string{"--rulez", "r"}, want: "unknown argument \"--rulez\": see devlogd --help"},
		{args: []string{"x"}, want: "unknown argument \"x\": see devlogd --help"},
		{args: []string{"--name", "a", "--name", "b"}, want: "--name is given twice"},
		{args: []string{"--type", "stream"}, want: "[] [] "},
		{args: []string{"--listen", "/a", "--type", "stream"}, want: "[{/a 1}] [] "},
		{args: []string{"--type", "stream", "--listen", "/a", "--listen", "/b"}, want: "[{/a 1} {/b 1}] [] "},
		{args: []string{"--listen", "/a", "--type", "dgram", "--listen", "/b", "--type", "stream"}, want: "[{/a 2} {/b 1}] [] "},
		{args: []string{"--type", "stream", "--listen", "/a", "--type", "dgram", "--listen", "/b"}, want: "[{/a 1} {/b 2}] [] "},
		{args: []string{"--listen", "/a", "--type", "stream", "--listen", "/b"}, want: "[{/a 1} {/b 2}] [] "},
		{args: []string{"--listen", "/a", "--listen", "/b", "--type", "stream"}, want: "[{/a 1} {/b 1}] [] "},
		{env: []string{"DEVLOG_LISTEN=/a\n/b", "DEVLOG_TYPE=stream"}, want: "[{/a 1} {/b 1}] [] "},
		{args: []string{"--type", "x"}, want: "--type: expected dgram or stream, not \"x\""},
		{args: []string{"--name", "a b"}, want: "--name \"a b\": a blank, control or non-ASCII character at byte 2: use letters, digits, '.' and '-'"},
		{args: []string{"--name", strings.Repeat("x", 256)}, want: "--name: 256 bytes are too long: use at most 255"},
	} {
		o, err := parseOptions(tt.args, tt.env, false)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(o.listen, " ", o.rules, " ", o.name)
		}
		if got != tt.want {
			t.Errorf("%q %q: got %q, want %q", tt.args, tt.env, got, tt.want)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("--rule\x00x\x00--name=y", "DEVLOG_RULE_A=b\x00DEVLOG_AWAIT_INIT=1")
	f.Fuzz(func(t *testing.T, args, env string) {
		o, err := parseOptions(strings.Split(args, "\x00"), strings.Split(env, "\x00"), false)
		if err == nil && (strings.ContainsAny(o.name, " \n") || slices.ContainsFunc(o.listen, func(l listenOption) bool { return l.kind == 0 })) {
			t.Fatalf("%q %q: %+v", args, env, o)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q %q: error of several lines: %v", args, env, err)
		}
	})
}

// everything is a receiver that does all that can be asked for with a message.
func everything(t *testing.T) *receiver {
	t.Helper()
	dir := t.TempDir()
	r := newReceiver(&options{name: "box", compress: true, overflow: syslogconf.Drop, rate: syslogconf.Rate{N: 1_000_000, Per: time.Second}}, func() ([]syslogconf.Rule, error) {
		return rules(t, "!-sshd *.* -"+dir+"/a;sender", "*.* -"+dir+"/b;JSON,rotate=1G:3,gzip", ":msg, contains, \"world\" *.* -"+dir+"/c;RFC5424"), nil
	})
	prepared(t, r)
	if err := r.openOutputs(); err != nil {
		t.Fatal(err)
	}
	return r
}

// prepared prepares the receiver, which is closed at the end.
func prepared(t testing.TB, r *receiver) {
	t.Helper()
	if err := r.prepare(&options{rate: syslogconf.Rate{N: 1_000_000, Per: time.Second}, overflow: syslogconf.Drop}); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.signals, err = eventloop.NewSignals(make(chan os.Signal)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.close()
		r.memory.Close()
	})
}

// withRoutes returns a receiver with these outputs.
func withRoutes(t testing.TB, routes ...router.Route) *receiver {
	t.Helper()
	r := newReceiver(&options{name: "box"}, nil)
	r.router.PID, r.router.Routes = []byte("7"), routes
	prepared(t, r)
	return r
}

// receiving has the receiver receive from one end of a pair of sockets, and returns the
// other end.
func receiving(t testing.TB, r *receiver) (fd int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	s := &socket{Socket: &intake.Socket{FD: pair[0]}}
	r.sockets = append(r.sockets, s)
	if err := r.intake.Add(s.Socket); err != nil {
		t.Fatal(err)
	}
	return pair[1]
}

// Whatever is asked for, a message costs no memory.
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
		if err := r.loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}); n > 0.05 { // the times of a new second
		t.Errorf("%v allocations", n)
	}
	for _, route := range r.router.Routes {
		if got := route.Out.Counts(); got.Written != 4*201 || r.Received != 4*201 {
			t.Errorf("%s: %+v of %d", route.Out.Name(), got, r.Received)
		}
	}
}

// recorder is an output that keeps what it gets.
type recorder struct {
	name  string
	lines []string
	sync  []bool
	count int
	keep  bool
}

func (s *recorder) Name() string          { return s.name }
func (s *recorder) Flush(time.Time)       {}
func (s *recorder) Next() time.Time       { return time.Time{} }
func (s *recorder) Reopen(time.Time)      {}
func (s *recorder) Close()                {}
func (s *recorder) Counts() output.Counts { return output.Counts{} }
func (s *recorder) Add(m output.Message) {
	s.count++
	if s.keep {
		s.lines = append(s.lines, stamp.ReplaceAllString(string(m.Line), ""))
		s.sync = append(s.sync, m.Sync)
	}
}

func rules(t testing.TB, texts ...string) []syslogconf.Rule {
	t.Helper()
	list, err := syslogconf.Load("", texts, "")
	if err != nil {
		t.Fatal(err)
	}
	return list
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
	if r.routed != 3 || r.unrouted != 1 {
		t.Errorf("routed %d, unrouted %d", r.routed, r.unrouted)
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
		if err := r.loop.RunOnce(); err != nil {
			t.Fatal(err)
		}
	}); n > 0.01 {
		t.Errorf("%v allocations", n)
	}
	if r.Received != 603 || s.count != 603 {
		t.Errorf("received %d, passed on %d", r.Received, s.count)
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
	r.say(syslog.Warning, "text")
	r.account()
	if len(a.lines) != 1 || !strings.HasSuffix(a.lines[0], "box devlogd[7]: text\n") {
		t.Errorf("%q", a.lines)
	}
}
