package syslog

import (
	"strings"
	"testing"
	"time"
)

// What is measured: short as most are, long, in another alphabet, to be escaped,
// and of RFC 5424.
var benchMessages = []struct{ name, raw string }{
	{"short", "<30>Feb  3 04:05:06 cron[12]: (root) CMD (run-parts --report /etc/cron.hourly)"},
	{"long", "<30>Feb  3 04:05:06 app[12]: " + strings.Repeat("the quick brown fox ", 50)},
	{"accents", "<30>Feb  3 04:05:06 app[12]: " + strings.Repeat("Größe überschritten, ", 5)},
	{"binary", "<30>Feb  3 04:05:06 app[12]: " + strings.Repeat("\x00\x1b[2J\xff", 20)},
	{"rfc5424", `<165>1 2003-10-11T22:14:15.003Z host evntslog 77 ID47 [example@32473 iut="3" eventSource="App"] BOM or not, an event`},
}

func BenchmarkParse(b *testing.B) {
	for _, bench := range benchMessages {
		b.Run(bench.name, func(b *testing.B) {
			raw := []byte(bench.raw)
			b.ReportAllocs()
			var m Message
			for b.Loop() {
				Parse(raw, &m)
			}
		})
	}
}

func BenchmarkFormat(b *testing.B) {
	stamp, host := []byte("Feb  3 04:05:06"), []byte("host")
	for _, layout := range []struct {
		name string
		line func(dst []byte, m *Message) []byte
	}{
		{"RFC3164", func(dst []byte, m *Message) []byte {
			dst, _ = AppendRFC3164(dst, stamp, host, m)
			return dst
		}},
		{"RFC5424", func(dst []byte, m *Message) []byte { return AppendRFC5424(dst, stamp, host, nil, m) }},
		{"JSON", func(dst []byte, m *Message) []byte { return AppendJSON(dst, stamp, host, m) }},
	} {
		for _, bench := range benchMessages {
			b.Run(layout.name+"/"+bench.name, func(b *testing.B) {
				var m Message
				Parse([]byte(bench.raw), &m)
				line := make([]byte, 0, 4096)
				b.SetBytes(int64(len(bench.raw)))
				b.ReportAllocs()
				for b.Loop() {
					line = layout.line(line[:0], &m)
				}
			})
		}
	}
}

func BenchmarkStamp(b *testing.B) {
	var s Stamp
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		s.Bytes(now)
	}
}
