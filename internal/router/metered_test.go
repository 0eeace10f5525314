package router

import (
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// recorder is an output that keeps what it gets.
type recorder struct {
	lines []string
	keep  bool
	last  output.Message
}

func (s *recorder) Name() string          { return "" }
func (s *recorder) Flush(time.Time)       {}
func (s *recorder) Next() time.Time       { return time.Time{} }
func (s *recorder) Reopen(time.Time)      {}
func (s *recorder) Close()                {}
func (s *recorder) Counts() output.Counts { return output.Counts{} }
func (s *recorder) Add(m output.Message) {
	s.last = m
	if s.keep {
		s.lines = append(s.lines, string(m.Line))
	}
}

func newRepeats(s *recorder) *MeteredOutput {
	return &MeteredOutput{Output: s, summary: func(p syslog.Priority, text string) output.Message {
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
		if p.Added != uint64(len(s.lines))+p.Repeated {
			t.Errorf("%s: taken %d, passed on %d, repeated %d", name, p.Added, len(s.lines), p.Repeated)
		}
	}
}

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

func TestMeterDoesNotAllocate(t *testing.T) {
	s := &recorder{}
	m, other := entry("hello"), entry("other")
	for _, p := range []*MeteredOutput{newRepeats(s), (&Router{}).Meter(s, syslogconf.Action{})} {
		p.Add(m)
		p.Add(other)
		if n := testing.AllocsPerRun(1000, func() { p.Add(m); p.Add(other); p.Flush(time.Time{}) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
