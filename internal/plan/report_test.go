package plan

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
)

// A container's texts are escaped: they control no terminal and forge no line.
func TestReportEscapes(t *testing.T) {
	const evil = "/run/\x1b]0;x\a\n\t\xff/log"
	f := Facts{Dev: shared, Log: link(evil, rootfs.Absent, false, Private), Socket: noSocket}
	f.Log.Target.Problem = unix.ENOENT.Error()
	p := New(f, Choice{Strategy: Auto})
	var text strings.Builder
	if err := Report(&text, f, p, "", ""); err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{text.String(), f.LogInWords(), p.String(), Step{Op: OpListen, Path: evil}.String(), refuse(evil, "").String()} {
		if strings.ContainsAny(strings.ReplaceAll(said, "\n", ""), "\x1b\a\t") || !utf8.ValidString(said) || !strings.Contains(said, `/run/#033]0;x#007#012#011#377/log`) {
			t.Errorf("said %q", said)
		}
	}
	if lines := strings.Count(text.String(), "\n"); lines != 5 {
		t.Errorf("%d lines:\n%s", lines, &text)
	}
}

func TestReceiverInWords(t *testing.T) {
	for want, f := range map[string]ReceiverFacts{
		"": {},
		"devlogd 7, no capabilities; not restarted if killed":                        {State: Running, PID: 7, Rights: &Rights{Capabilities: "0"}},
		"devlogd 7; restarted by systemd if killed (u)":                              {State: Running, PID: 7, Unit: "u"},
		"cannot be seen from here: on the host, or in another PID namespace":         {State: Elsewhere},
		"has gone: it was killed and is not restarted; repair starts another":        {State: Gone},
		"has gone: process 7 was killed and is not restarted; repair starts another": {State: Gone, PID: 7},
		"has gone with u: start it again with systemctl start devlogd, or repair":    {State: Gone, PID: 7, Unit: "u"},
	} {
		if got := f.inWords(); got != want {
			t.Errorf("%+v: %q", f, got)
		}
		if alive := f.State == Running || f.State == Elsewhere; f.Alive() != alive {
			t.Errorf("%+v: alive = %t", f, f.Alive())
		}
	}
}
