package syslog

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKernelRecord(t *testing.T) {
	p := MakePriority(User, Err)
	if got := string(KernelRecord(p, "x: y")); got != "<11>x: y\n" {
		t.Errorf("got %q", got)
	}
	got := KernelRecord(p, "x"+strings.Repeat("ü", MaxRecord))
	if len(got) > MaxRecord || len(got) < MaxRecord-1 || !utf8.Valid(got) || got[len(got)-1] != '\n' {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
