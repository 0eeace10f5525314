package journal

import (
	"encoding/json"
	"errors"
	"slices"
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
		"fields": {syslog.Message{Fields: []syslog.Field{{Name: []byte("CODE_FILE"), Value: []byte("x")}, {Name: []byte("CONTAINER_NAME"), Value: []byte("other")},
			{Name: []byte("PODMAN_EVENT"), Value: []byte("died")}, {Name: []byte("USER_UNIT"), Value: []byte("x.service")},
			{Name: []byte("OBJECT_PID"), Value: []byte("1")}}},
			"SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|CODE_FILE=x|CLIENT_CONTAINER_NAME=other|CLIENT_PODMAN_EVENT=died|CLIENT_USER_UNIT=x.service|CLIENT_OBJECT_PID=1|MESSAGE=|"},
		"little":  {syslog.Message{}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|MESSAGE=|"},
		"newline": {syslog.Message{Text: []byte("a\nb")}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|MESSAGE|\x03\x00\x00\x00\x00\x00\x00\x00a|b|"},
		"no text": {syslog.Message{Text: []byte("a\xff")}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|MESSAGE=a#377|SYSLOG_RAW=a\xff|"},
		"a terminal's": {syslog.Message{Tag: []byte("a\x1b[2J"), PID: []byte("\u202e"), Text: []byte("a\x1b]0;x\x07\tb\u0085")},
			"SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|SYSLOG_IDENTIFIER=a#033[2J|SYSLOG_PID=#342#200#256|MESSAGE=a#033]0;x#007#011b#302#205|SYSLOG_RAW=a\x1b]0;x\x07\tb\u0085|"},
		"a NUL":     {syslog.Message{Text: []byte("a\x00")}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|MESSAGE=a#000|SYSLOG_RAW=a\x00|"},
		"wrong SD":  {syslog.Message{SD: []byte(`[x a="b" c]`)}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|SD_X_A=b|MESSAGE=|"},
		"cut SD":    {syslog.Message{SD: []byte(`[x`)}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|MESSAGE=|"},
		"long name": {syslog.Message{SD: []byte(`[` + strings.Repeat("x", 99) + ` a="b"]`)}, "SYSLOG_TIMESTAMP=now|PRIORITY=1|SYSLOG_FACILITY=0|SD_" + strings.Repeat("X", 61) + "=b|MESSAGE=|"},
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

// read is what messages are made of a datagram: their lines as JSON, without the time.
func read(datagram string) (lines []string, err error) {
	var r Reader
	err = r.Read([]byte(datagram), func(m *syslog.Message) {
		lines = append(lines, string(syslog.AppendJSON(nil, nil, nil, m)))
	})
	return lines, err
}

func TestRead(t *testing.T) {
	begin := `{"timestamp":"","facility":"user","severity":"info"`
	many := strings.Repeat("B=c\n", 65)
	for _, tt := range []struct {
		datagram string
		want     []string
		err      error
	}{
		{"", nil, nil},
		{"_PID=1\nlower=x\n", nil, nil},
		{"MESSAGE=a\n", []string{begin + `,"msg":"a"}`}, nil},
		{"MESSAGE=a\nPRIORITY=3\nSYSLOG_FACILITY=2\nSYSLOG_IDENTIFIER=app\nSYSLOG_PID=7\n",
			[]string{`{"timestamp":"","facility":"mail","severity":"err","appname":"app","procid":"7","msg":"a"}`}, nil},
		{"PRIORITY=8\nSYSLOG_FACILITY=24\nSYSLOG_PID=x\nMESSAGE=a\n", []string{begin + `,"msg":"a"}`}, nil},
		{"PRIORITY=\nSYSLOG_FACILITY=0\nSYSLOG_PID=-1\nMESSAGE=a", []string{begin + `,"msg":"a"}`}, nil},
		{"MESSAGE=a\nCODE_LINE=7\n_UID=0\nX=\"\nX=b\nY=\xff\n", []string{begin + `,"msg":"a","fields":{"CODE_LINE":"7","X":["\"","b"],"Y":"#377"}}`}, nil},
		{"MESSAGE=a\n\nMESSAGE=b\nA=c\n\n\nMESSAGE=d", []string{begin + `,"msg":"a"}`, begin + `,"msg":"b","fields":{"A":"c"}}`, begin + `,"msg":"d"}`}, nil},
		{"MESSAGE=a\n\nMESSAGE\n", []string{begin + `,"msg":"a"}`}, ErrUnfinished},
		{"MESSAGE=" + strings.Repeat("x", 65537), []string{begin + `,"msg":"` + strings.Repeat("x", 65536) + `","cut":true}`}, nil},
		{"MESSAGE=a\nB=" + strings.Repeat("x", 65536), []string{begin + `,"msg":"a","cut":true}`}, nil},
		{"A=b\n" + many, []string{begin + `,"msg":"","fields":{"A":"b","B":["c"` + strings.Repeat(`,"c"`, 62) + `]},"cut":true}`}, nil},
	} {
		got, err := read(tt.datagram)
		for i := range got {
			got[i] = strings.TrimSuffix(got[i], "\n")
		}
		if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%.100q:\n got %.300q, %v\nwant %.300q, %v", tt.datagram, got, err, tt.want, tt.err)
		}
	}
}

// Whatever a client sends, each line is an object.
func FuzzRead(f *testing.F) {
	f.Add([]byte("MESSAGE=a\nA=b\n\nA=c\nA=d\nSYSLOG_PID=1\n"))
	f.Add([]byte("MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00\n\nA\n"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		lines, _ := read(string(datagram))
		for _, line := range lines {
			if !json.Valid([]byte(line)) || strings.Count(line, "\n") != 1 {
				t.Errorf("%q: %q", datagram, line)
			}
		}
		if s, size := ReadStdout(datagram); size > 0 {
			_ = s.Message(datagram[size:])
		}
	})
}

func TestReadStdout(t *testing.T) {
	for _, tt := range []struct {
		said string
		size int
		line string
		want string
	}{
		{"", 0, "", ""},
		{"app\nunit\n30\n1\n0\n0\n", 0, "", ""},
		{"app\n\n30\n1\n0\n0\n0\nx", 16, "<3>text", "daemon.err app: text"},
		{"app\n\n6\n0\n0\n0\n0\n", 15, "<3>text", "user.info app: <3>text"},
		{"\n\n6\n1\n0\n0\n0\n", 12, "<9>text", "user.info <9>text"},
		{"app\n\n192\n1\n0\n0\n0\n", -1, "", ""},
		{"app\n\nx\n1\n0\n0\n0\n", -1, "", ""},
		{strings.Repeat("x", 4096), -1, "", ""},
		{strings.Repeat("x", 4096) + "\n\n6\n1\n0\n0\n0\n", -1, "", ""},
	} {
		s, size := ReadStdout([]byte(tt.said))
		if size != tt.size {
			t.Errorf("%.50q: %d, want %d", tt.said, size, tt.size)
		}
		if size <= 0 {
			continue
		}
		m := s.Message([]byte(tt.line))
		if got := m.Facility.String() + "." + m.Severity.String() + " " + string(syslog.AppendBody(nil, &m)); got != tt.want {
			t.Errorf("%q, %q: %q, want %q", tt.said, tt.line, got, tt.want)
		}
	}
}
