package syslogconf

import "testing"

func BenchmarkParseRule(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRule("*.info;mail.none;authpriv.none -/var/log/messages"); err != nil {
			b.Fatal(err)
		}
	}
}
