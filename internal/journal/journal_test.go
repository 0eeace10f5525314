package journal

import (
	"errors"
	"strings"
	"testing"

	"devlog/internal/syslog"
)

func TestAppendMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		m    syslog.Message
		want string
	}{
		"all": {syslog.Message{Facility: 2, Severity: syslog.Err, Tag: []byte("app"), PID: []byte("7"), MsgID: []byte("ID"), Text: []byte("hello"), Cut: true,
			SD: []byte(`[x@1 a="b\"\\\]\c" c-d="e"][y][z f=""]`), Sender: syslog.Sender{Known: true, PID: 1, UID: 2, GID: 3}},
			"SYSLOG_TIMESTAMP=now|PRIORITY=3|SYSLOG_FACILITY=2|SYSLOG_IDENTIFIER=app|SYSLOG_PID=7|SYSLOG_MSGID=ID|" +
				`SD_X_1_A=b"\]\c|SD_X_1_C_D=e|SD_Z_F=|OBJECT_PID=1|SENDER_UID=2|SENDER_GID=3|SYSLOG_CUT=1|MESSAGE=hello|`},
		"little":    {syslog.Message{}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|MESSAGE=|"},
		"newline":   {syslog.Message{Text: []byte("a\nb")}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|MESSAGE|\x03\x00\x00\x00\x00\x00\x00\x00a|b|"},
		"no text":   {syslog.Message{Text: []byte("a\xff")}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|MESSAGE=a#377|SYSLOG_RAW=a\xff|"},
		"a NUL":     {syslog.Message{Text: []byte("a\x00")}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|MESSAGE=a#000|SYSLOG_RAW=a\x00|"},
		"wrong SD":  {syslog.Message{SD: []byte(`[x a="b" c]`)}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|SD_X_A=b|MESSAGE=|"},
		"cut SD":    {syslog.Message{SD: []byte(`[x`)}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|MESSAGE=|"},
		"long name": {syslog.Message{SD: []byte(`[` + strings.Repeat("x", 99) + ` a="b"]`)}, "SYSLOG_TIMESTAMP=now|PRIORITY=0|SYSLOG_FACILITY=0|SD_" + strings.Repeat("X", 61) + "=b|MESSAGE=|"},
	} {
		entry, body := AppendMessage(nil, []byte("now"), &tt.m)
		if body != len("SYSLOG_TIMESTAMP=now\n") {
			t.Errorf("%s: the body begins at %d", name, body)
		}
		got := string(entry)
		if got = strings.ReplaceAll(got, "\n", "|"); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, tt.want)
		}
	}
}

// parsed is the entry's fields as text; entries end with a period.
func parsed(entry string) (string, error) {
	var b strings.Builder
	err := Parse([]byte(entry),
		func(name, value []byte) { b.WriteString(string(name) + "=" + string(value) + "|") },
		func() { b.WriteString(".") })
	return b.String(), err
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		entry, want string
		err         error
	}{
		{"", "", nil},
		{"\n\n", "", nil},
		{"A=b\nC=\n", "A=b|C=|.", nil},
		{"A=b", "A=b|.", nil},
		{"A=b\n\nC=d\n\n\n", "A=b|.C=d|.", nil},
		{"A\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\nC=d\n", "A=a\nb|C=d|.", nil},
		{"_PID=1\na=b\nA-B=c\n1=d\n=e\n" + strings.Repeat("N", 65) + "=f\nMESSAGE=g\n", "MESSAGE=g|.", nil},
		{"A", "", ErrUnfinished},
		{"A\n\x03\x00\x00", "", ErrUnfinished},
		{"A\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb", "", ErrUnfinished},
		{"A\n\x02\x00\x00\x00\x00\x00\x00\x00a\nb\n", "", ErrUnfinished},
		{"A=b\nB\n\xff\xff\xff\xff\xff\xff\xff\xffa\nb\n", "A=b|", ErrUnfinished},
		{strings.Repeat("A=\n", 1025), strings.Repeat("A=|", 1024), ErrFields},
	} {
		if got, err := parsed(tt.entry); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%.100q: %.100q, %v; want %.100q, %v", tt.entry, got, err, tt.want, tt.err)
		}
	}
}

// What is written can be read.
func FuzzParse(f *testing.F) {
	f.Add([]byte("A=b\n\nC\n\x01\x00\x00\x00\x00\x00\x00\x00\n\n"), []byte("text\n"))
	f.Fuzz(func(t *testing.T, entry, text []byte) {
		_, _ = parsed(string(entry))
		m := syslog.Message{Tag: text, Text: entry, SD: text}
		seen := map[string]string{}
		wrote, _ := AppendMessage(nil, []byte("now"), &m)
		err := Parse(wrote, func(name, value []byte) { seen[string(name)] = string(value) }, func() {})
		if raw, ok := seen["SYSLOG_RAW"]; err != nil || ok && raw != string(entry) || !ok && seen["MESSAGE"] != string(entry) {
			t.Errorf("%q, %q: %v, %q", entry, text, err, seen)
		}
	})
}
