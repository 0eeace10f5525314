package receiver

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// newRepeats returns a tap that leaves repeats out.
func newRepeats(s *recorder) *tap {
	return &tap{Output: s, summary: func(p syslog.Priority, text string) output.Message {
		return output.Message{Priority: p, Line: []byte(text + "\n"), Body: []byte(text)}
	}}
}

func entry(text string) output.Message {
	return output.Message{Priority: 13, Line: []byte(text + "\n"), Body: []byte(text)}
}

func TestRepeats(t *testing.T) {
	loud := entry("a")
	loud.Priority = 11
	for name, tt := range map[string]struct {
		in   []output.Message
		want []string
	}{
		"none":             {[]output.Message{entry("a"), entry("b"), entry("a")}, []string{"a", "b", "a"}},
		"some":             {[]output.Message{entry("a"), entry("a"), entry("a"), entry("b"), entry("b")}, []string{"a", "last message repeated 2 times", "b", "last message repeated 1 times"}},
		"another priority": {[]output.Message{entry("a"), loud}, []string{"a", "a"}},
		"empty":            {[]output.Message{entry(""), entry("")}, []string{"", ""}},
		"huge":             {[]output.Message{entry(strings.Repeat("x", maxRepeat+1)), entry(strings.Repeat("x", maxRepeat+1))}, []string{strings.Repeat("x", maxRepeat+1), strings.Repeat("x", maxRepeat+1)}},
		"begins alike":     {[]output.Message{entry("aa"), entry("a")}, []string{"aa", "a"}},
	} {
		s := &recorder{keep: true}
		p := newRepeats(s)
		for _, m := range tt.in {
			p.Add(m)
		}
		p.sumUp()
		p.sumUp()
		got := strings.Split(strings.TrimSuffix(strings.Join(s.lines, ""), "\n"), "\n")
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q", name, got)
		}
		if p.taken != uint64(len(s.lines))+p.repeated {
			t.Errorf("%s: taken %d, passed on %d, repeated %d", name, p.taken, len(s.lines), p.repeated)
		}
	}
}

// Repeats are summed up after a time that grows, and there is no waking up
// without them.
func TestRepeatIntervals(t *testing.T) {
	s := &recorder{keep: true}
	p := newRepeats(s)
	p.Add(entry("a"))
	if !p.Next().IsZero() {
		t.Error("wakes up without a repeat")
	}
	for i, want := range []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		begin := p.since
		p.Add(entry("a"))
		at := p.Next()
		if at.Sub(begin) != want {
			t.Errorf("%d: after %v, want %v", i, at.Sub(begin), want)
		}
		p.Flush(at.Add(-1))
		if n := len(s.lines); n != i+1 {
			t.Errorf("%d: %d lines too early", i, n)
		}
		p.Flush(at)
		if n := len(s.lines); n != i+2 || s.lines[n-1] != "last message repeated 1 times\n" || !p.Next().IsZero() {
			t.Errorf("%d: %q, next %v", i, s.lines, p.Next())
		}
	}
	p.Add(entry("b"))
	p.Add(entry("b"))
	if got := p.Next().Sub(p.since); got != 30*time.Second {
		t.Errorf("another message: after %v", got)
	}
}

func TestTapDoesNotAllocate(t *testing.T) {
	s := &recorder{}
	m, other := entry("hello"), entry("other")
	for _, p := range []*tap{newRepeats(s), (&receiver{}).newTap(s, syslogconf.Action{})} {
		p.Add(m)
		p.Add(other)
		if n := testing.AllocsPerRun(1000, func() { p.Add(m); p.Add(other); p.Flush(time.Time{}) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func TestCompressRepeats(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--rule", "mail.* -"+log+"2", "--rule", "mail.* -"+log+".json;JSON", "--rule", "mail.* -"+log+".5424;RFC5424", "--compress-repeats")
	fd := dial(t, sock)
	for range 5 {
		send(t, fd, "<13>Jan  1 00:00:00 app[1]: same", "<22>mail: same")
	}
	for range 5 {
		send(t, fd, "<13>Jan  1 00:00:00 app[1]: same")
	}
	send(t, fd, "<13>end")
	await(t, log, "end")
	d.signal(unix.SIGUSR2) // all repeats are summed up before
	awaitTimes(t, log, upgraded, 1)
	d.signal(unix.SIGUSR1)
	await(t, log, ", repeated ")
	send(t, fd, "<13>end", "<13>end", "<22>mail: same")
	d.stop()
	// Each file has its own.
	want := "box mail: same\nbox last message repeated 4 times\nbox mail: same\n"
	if got := content(t, log+"2"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for suffix, want := range map[string]string{".json": `"msg":"last message repeated 4 times"`, ".5424": " last message repeated 4 times"} {
		if got := content(t, log+suffix); strings.Count(got, "\n") != 3 || !strings.Contains(got, want) {
			t.Errorf("%s: %q", suffix, got)
		}
	}
	var lines []string
	for line := range strings.Lines(content(t, log)) {
		if !strings.Contains(line, "devlogd[") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	all := append(slices.Repeat([]string{"box app[1]: same", "box mail: same"}, 5), "box app[1]: same", "box last message repeated 4 times",
		"box end", "box end", "box last message repeated 1 times", "box mail: same")
	if !slices.Equal(lines, all) {
		t.Errorf("got %q, want %q", lines, all)
	}
	if text := content(t, log); !strings.Contains(text, fmt.Sprintf("%s: written %d, pending 0, repeated 4;", log, 14)) {
		t.Errorf("account in %q", text)
	}
}
