package syslog

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var parseTests = []struct {
	name, raw           string
	priority            Priority
	tag, pid, msgID, sd string
	text                string
}{
	{"glibc", "<30>Feb  3 04:05:06 cron[12]: hello world", 30, "cron", "12", "", "", "hello world"},
	{"no pid", "<13>Feb 13 04:05:06 logger: hello", 13, "logger", "", "", "", "hello"},
	{"path as tag", "<22>Feb 13 04:05:06 postfix/smtpd[9]: x: y", 22, "postfix/smtpd", "9", "", "", "x: y"},
	{"NUL and newline at the end", "<13>Feb 13 04:05:06 a: b\n\x00", 13, "a", "", "", "", "b"},
	{"no time", "<13>a[1]: b", 13, "a", "1", "", "", "b"},
	{"only time", "<13>Feb 13 04:05:06", 13, "", "", "", "", ""},
	{"no tag", "<13>Feb 13 04:05:06 hello world", 13, "", "", "", "", "hello world"},
	{"no PRI", "Feb 13 04:05:06 a: b", 13, "a", "", "", "", "b"},
	{"no PRI, plain", "hello", 13, "", "", "", "", "hello"},
	{"PRI too high", "<192>a: b", 13, "", "", "", "", "<192>a: b"},
	{"PRI highest", "<191>a: b", 191, "a", "", "", "", "b"},
	{"PRI empty", "<>a: b", 13, "", "", "", "", "<>a: b"},
	{"PRI unclosed", "<13a: b", 13, "", "", "", "", "<13a: b"},
	{"PRI too long", "<0013>b", 13, "", "", "", "", "<0013>b"},
	{"PRI only", "<13>", 13, "", "", "", "", ""},
	{"PRI negative", "<-1>b", 13, "", "", "", "", "<-1>b"},
	{"kern becomes user", "<2>a: b", 10, "a", "", "", "", "b"},
	{"empty", "", 13, "", "", "", "", ""},
	{"NUL only", "\x00\x00", 13, "", "", "", "", ""},
	{"NUL inside", "<13>a: b\x00c", 13, "a", "", "", "", "b\x00c"},
	{"newline inside", "<13>a: b\nc\n", 13, "a", "", "", "", "b\nc"},
	{"binary", "\xff\xfe\x01", 13, "", "", "", "", "\xff\xfe\x01"},
	{"time glued to text", "<13>Feb 13 04:05:06x", 13, "", "", "", "", "Feb 13 04:05:06x"},
	{"no month", "<13>Foo 13 04:05:06 x", 13, "", "", "", "", "Foo 13 04:05:06 x"},
	{"colon without blank", "<13>a:b", 13, "a", "", "", "", "b"},
	{"colon without blank, pid", "<13>Feb 13 04:05:06 a[12]:b", 13, "a", "12", "", "", "b"},
	{"colon without blank, no pid in the bracket", "<13>a[x]:b", 13, "", "", "", "", "a[x]:b"},
	{"colon without blank, path", "<13>postfix/smtpd:b", 13, "postfix/smtpd", "", "", "", "b"},
	{"colon without blank, parentheses", "<13>su(pam_unix):b", 13, "su(pam_unix)", "", "", "", "b"},
	{"colon without blank, a digit first", "<13>389-ds:b", 13, "389-ds", "", "", "", "b"},
	{"colon without blank, host", "<13>Feb 13 04:05:06 box a:b", 13, "a", "", "", "", "b"},
	{"tag only", "<13>a:", 13, "a", "", "", "", ""},
	{"tag and pid only", "<13>Feb 13 04:05:06 a[12]:\n", 13, "a", "12", "", "", ""},
	{"tag only, host", "<13>Feb 13 04:05:06 box a:", 13, "a", "", "", "", ""},
	{"address", "<13>http://a.b/c is down", 13, "", "", "", "", "http://a.b/c is down"},
	{"path of Windows", `<13>C:\a`, 13, "", "", "", "", `C:\a`},
	{"name of Perl", "<13>A::B: c", 13, "", "", "", "", "A::B: c"},
	{"time of day", "<13>10:43:21 b", 13, "", "", "", "", "10:43:21 b"},
	{"time in lower case", "<13>2026-11-10t10:43:21z a[9]: b", 13, "", "", "", "", "2026-11-10t10:43:21z a[9]: b"},
	{"object", `<13>{"a":1}`, 13, "", "", "", "", `{"a":1}`},
	{"beginning of an object", `<13>{"a":`, 13, "", "", "", "", `{"a":`},
	{"PAM without a tag", "<13>pam_unix(su:session): b", 13, "", "", "", "", "pam_unix(su:session): b"},
	{"SSSD", "<13>Feb 13 04:05:06 sssd[be[EX.COM]][2309]: b", 13, "sssd[be[EX.COM]]", "2309", "", "", "b"},
	{"SSSD, colon without blank", "<13>sssd[be[EX.COM]][2309]:b", 13, "sssd[be[EX.COM]]", "2309", "", "", "b"},
	{"SSSD, no pid", "<13>sssd[be[EX.COM]]: b", 13, "sssd[be[EX.COM]]", "", "", "", "b"},
	{"SSSD, service", "<13>sssd[pam]: b", 13, "sssd", "pam", "", "", "b"},
	{"SSSD, service and pid", "<13>sssd[nss][7]: b", 13, "sssd[nss]", "7", "", "", "b"},
	{"brackets of three", "<13>a[b[c]][d][7]: x", 13, "a[b[c]][d]", "7", "", "", "x"},
	{"brackets that do not match", "<13>a[b]]: x", 13, "", "", "", "", "a[b]]: x"},
	{"bracket in the text", "<13>a: [1]: x", 13, "a", "", "", "", "[1]: x"},
	{"nginx at its start", "<189>Nov 27 19:41:41  nginx: x", 189, "nginx", "", "", "", "x"},
	{"more blanks behind the time", "<13>Nov 27 19:41:41    a[7]: x", 13, "a", "7", "", "", "x"},
	{"blanks behind the time, no tag", "<13>Nov 27 19:41:41   x y", 13, "", "", "", "", "  x y"},
	{"blank and host behind the time", "<13>Nov 27 19:41:41  box a: x", 13, "a", "", "", "", "x"},
	{"OpenVPN", "<30> openvpn[2499]: x", 30, "openvpn", "2499", "", "", "x"},
	{"blank before the time", "<30> Nov 27 19:41:41 a: x", 30, "a", "", "", "", "x"},
	{"blank before our host", "<30> box a: x", 30, "a", "", "", "", "x"},
	{"blank before text", "<13> x y", 13, "", "", "", "", " x y"},
	{"indented text", "<13>  a: x", 13, "", "", "", "", "  a: x"},
	{"indented text, no PRI", " a: x", 13, "", "", "", "", " a: x"},
	{"blank day", "<13>Nov 7 19:06:53 a: x", 13, "a", "", "", "", "x"},
	{"blank day, time only", "<13>Nov 7 19:06:53", 13, "", "", "", "", ""},
	{"day with 0", "<13>Nov 07 19:06:53 a: x", 13, "a", "", "", "", "x"},
	{"month in capitals", "<13>NOV 27 19:06:53 a: x", 13, "a", "", "", "", "x"},
	{"month in small letters", "<13>nov 27 19:06:53 a: x", 13, "a", "", "", "", "x"},
	{"month of another language", "<13>M\xc3\xa4r  5 14:17:47 a: x", 13, "", "", "", "", "M\xc3\xa4r  5 14:17:47 a: x"},
	{"milliseconds", "<13>Aug 29 02:00:00.156 a[7]: x", 13, "", "", "", "", "Aug 29 02:00:00.156 a[7]: x"},
	{"year", "<13>Aug 29 2026 02:00:00 a[7]: x", 13, "", "", "", "", "Aug 29 2026 02:00:00 a[7]: x"},
	{"mark", "<13>\xef\xbb\xbfa: x", 13, "a", "", "", "", "x"},
	{"mark before the time", "<13>\xef\xbb\xbfNov 27 19:06:53 a: x", 13, "a", "", "", "", "x"},
	{"mark behind the time", "<13>Nov 27 19:06:53 \xef\xbb\xbfa[7]: x", 13, "a", "7", "", "", "x"},
	{"mark before text", "<13>\xef\xbb\xbfx y", 13, "", "", "", "", "\xef\xbb\xbfx y"},
	{"mark in the text", "<13>a: \xef\xbb\xbfx", 13, "a", "", "", "", "\xef\xbb\xbfx"},
	{"pid unclosed", "<13>a[1: b", 13, "", "", "", "", "a[1: b"},
	{"pid empty", "<13>a[]: b", 13, "", "", "", "", "a[]: b"},
	{"tag empty", "<13>: b", 13, "", "", "", "", ": b"},
	{"tag, empty text", "<13>a: ", 13, "a", "", "", "", ""},
	{"blanks in the text", "<13>a:   b  ", 13, "a", "", "", "", "  b  "},
	{"RFC 3339 time and host (Go's older log/syslog)", "<30>2026-02-03T04:05:06+01:00 box a[7]: b", 30, "a", "7", "", "", "b"},
	{"RFC 3339 time", "<30>2026-02-03T04:05:06.123456Z a: b", 30, "a", "", "", "", "b"},
	{"wrong RFC 3339 time", "<30>2026-02-03T04:05:06x a: b", 30, "", "", "", "", "2026-02-03T04:05:06x a: b"},
	{"RFC 3339 time, no zone", "<13>2026-11-10T10:43:21.156 a[9]: x", 13, "a", "9", "", "", "x"},
	{"RFC 3339 time, no zone or fraction", "<13>2026-11-10T10:43:21 a[9]: x", 13, "a", "9", "", "", "x"},
	{"RFC 3339 time, zone without a colon", "<13>2026-11-10T10:43:21-0130 a[9]: x", 13, "a", "9", "", "", "x"},
	{"RFC 3339 time, two blanks", "<13>2026-11-10T10:43:21Z  a[9]: x", 13, "a", "9", "", "", "x"},
	{"RFC 3339 time, blank in it", "<13>2026-11-10 10:43:21.156+01:00 a[9]: x", 13, "", "", "", "", "2026-11-10 10:43:21.156+01:00 a[9]: x"},
	{"RFC 3339 time only", "<30>2026-02-03T04:05:06Z", 30, "", "", "", "", ""},
	{"our host", "<13>Feb 13 04:05:06 box a: b", 13, "a", "", "", "", "b"},
	{"another host, no pid", "<13>Feb 13 04:05:06 error reading: b", 13, "", "", "", "", "error reading: b"},
	{"another host, pid", "<13>Feb 13 04:05:06 fe80::1 a[7]: b", 13, "a", "7", "", "", "b"},
	{"a word and a tag", "<13>Feb 13 04:05:06 (x) a[7]: b", 13, "", "", "", "", "(x) a[7]: b"},
	{"our host and text", "<13>Feb 13 04:05:06 box is up", 13, "", "", "", "", "box is up"},
	{"no time, our host", "<13>box a: b", 13, "a", "", "", "", "b"},
	{"no time, another host", "<13>fox a[7]: b", 13, "", "", "", "", "fox a[7]: b"},
	{"our host in capitals", "<13>Feb 13 04:05:06 BOX a: b", 13, "a", "", "", "", "b"},
	{"our host with its domain", "<13>Feb 13 04:05:06 box.example a: b", 13, "a", "", "", "", "b"},
	{"our host without its domain", "<13>Feb 13 04:05:06 WEB-01 a: b", 13, "a", "", "", "", "b"},
	{"beginning of our host", "<13>Feb 13 04:05:06 bo a: b", 13, "", "", "", "", "bo a: b"},
	{"localhost", "<134>Nov 27 19:42:17 localhost a: b", 134, "a", "", "", "", "b"},
	{"localhost without a time", "<134>Localhost a[7]:b", 134, "a", "7", "", "", "b"},
	{"localhost and text", "<134>Nov 27 19:42:17 localhost is up", 134, "", "", "", "", "localhost is up"},
	{"5424", "<165>1 2003-10-11T22:14:15.003Z host app 7 ID47 [x@1 a=\"]\\\"\"][y] \xef\xbb\xbfhi", 165, "app", "7", "ID47", "[x@1 a=\"]\\\"\"][y]", "hi"},
	{"5424 all nil", "<165>1 - - - - - -", 165, "", "", "", "", ""},
	{"5424 text", "<165>1 - - a - - - b c\n", 165, "a", "", "", "", "b c"},
	{"5424 broken SD", "<165>1 - - a - - [x b", 165, "", "", "", "", "1 - - a - - [x b"},
	{"5424 SD glued", "<165>1 - - a - - -b", 165, "", "", "", "", "1 - - a - - -b"},
	{"5424 wrong time", "<165>1 now - a - - - b", 165, "", "", "", "", "1 now - a - - - b"},
	{"not 5424", "<165>1 apple", 165, "", "", "", "", "1 apple"},
	{"5424 version 2", "<165>2 - - a - - - b", 165, "", "", "", "", "2 - - a - - - b"},
}

func TestParse(t *testing.T) {
	for _, tt := range parseTests {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			Parse([]byte(tt.raw), &m, []byte("web-01.example.com"), []byte("box"))
			if m.Priority() != tt.priority || string(m.Tag) != tt.tag || string(m.PID) != tt.pid ||
				string(m.MsgID) != tt.msgID || string(m.SD) != tt.sd || string(m.Text) != tt.text {
				t.Errorf("Parse(%q) = %d %q %q %q %q %q", tt.raw, m.Priority(), m.Tag, m.PID, m.MsgID, m.SD, m.Text)
			}
		})
	}
}

func TestAppendRFC3164(t *testing.T) {
	for _, tt := range []struct{ raw, host, want string }{
		{"<13>a[1]: b", "h", "STAMP h a[1]: b\n"},
		{"<13>a: b", "", "STAMP a: b\n"},
		{"", "h", "STAMP h \n"},
		{"hello", "h", "STAMP h hello\n"},
		{"<13>a: b\tc\nd\x00e\x7f\x1b[0m", "h", "STAMP h a: b#011c#012d#000e#177#033[0m\n"},
		{"<13>a: \xffx\xc3\xa9\xc2\x85\xc2\xa0\xe2\x82", "h", "STAMP h a: #377xé#302#205\u00a0#342#202\n"},
		{"<13>a:b", "h", "STAMP h a:b\n"},
		{"<13>a[1]:b", "h", "STAMP h a[1]:b\n"},
		{"<13>a:", "h", "STAMP h a:\n"},
		{"<13>a: ", "h", "STAMP h a: \n"},
		{"<13>s[b[E]][7]: x", "h", "STAMP h s[b[E]][7]: x\n"},
		{"<13>1 - - a\u0080 - I [x] t", "h", "STAMP h a#302#200: I [x] t\n"},
		{"<13>1 - - - 7 - - t", "h", "STAMP h -[7]: t\n"},
		{"<13>x\xff[\xfe]: t", "h", "STAMP h x#377[#376]: t\n"},
	} {
		var m Message
		Parse([]byte(tt.raw), &m)
		line, body := AppendRFC3164(nil, []byte("STAMP"), []byte(tt.host), &m)
		if string(line) != tt.want {
			t.Errorf("%q: got %q, want %q", tt.raw, line, tt.want)
		}
		if want := string(AppendBody(nil, &m)) + "\n"; string(line[body:]) != want {
			t.Errorf("%q: body %q, want %q", tt.raw, line[body:], want)
		}
	}
}

func TestStamp(t *testing.T) {
	var s Stamp
	at := time.Date(2026, 2, 3, 4, 5, 6, 7, time.Local)
	if got := string(s.Bytes(at)); got != "Feb  3 04:05:06" {
		t.Errorf("got %q", got)
	}
	if got := string(s.Bytes(at.Add(time.Second))); got != "Feb  3 04:05:07" {
		t.Errorf("a second later: got %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { s.Bytes(at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := string(new(Stamp).Bytes(time.Unix(0, 0).UTC())); stampEnd([]byte(got)) != len(got) {
		t.Errorf("the time 0 is %q", got)
	}
}

func TestNames(t *testing.T) {
	for f := range Facility(NumFacilities) {
		if got, ok := ParseFacility(f.String()); !ok || got != f {
			t.Errorf("%v: got %v, %v", f, got, ok)
		}
	}
	for s := range Severity(8) {
		if got, ok := ParseSeverity(s.String()); !ok || got != s {
			t.Errorf("%v: got %v, %v", s, got, ok)
		}
	}
	for alias, number := range map[string]Facility{"ntp": 12, "security": 13, "audit": 13, "console": 14, "alert": 14, "clock": 15, "cron_sol": 15, "cron2": 15} {
		if f, ok := ParseFacility(alias); !ok || f != number {
			t.Errorf("%s is %d, %v", alias, f, ok)
		}
	}
	for alias, name := range map[string]string{"panic": "emerg", "error": "err", "warn": "warning"} {
		if s, ok := ParseSeverity(alias); !ok || s.String() != name {
			t.Errorf("%s is %v, %v", alias, s, ok)
		}
	}
	if _, ok := ParseFacility("foo"); ok {
		t.Error("there is a facility foo")
	}
	if _, ok := ParseSeverity("none"); ok {
		t.Error("there is a severity none")
	}
	if Facility(24).String() != "unknown" || Severity(8).String() != "unknown" {
		t.Error("numbers out of range have names")
	}
}

func TestNoAllocation(t *testing.T) {
	raw := []byte("<30>Feb  3 04:05:06 cron[12]: hello\tw\u00f6rld")
	dst := make([]byte, 0, 256)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		Parse(raw, &m)
		dst, _ = AppendRFC3164(dst[:0], []byte("Feb  3 04:05:06"), []byte("host"), &m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range parseTests {
		f.Add([]byte(tt.raw))
	}
	for _, name := range []string{"a:b", "a[b", "[", "]", "x:", "-", "[1]:", "a[1]:", "box"} { // that no tag can be
		f.Add([]byte("<13>1 - h " + name + " 1 - - t"))
		f.Add([]byte("<13>1 - h " + name + " " + name + " " + name + ` [x y="` + name + `"] box t: `))
		f.Add([]byte("<13>1 - h " + name + " - - -"))
	}
	stamp := []byte("Feb  3 04:05:06")
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		Parse(raw, &m)
		if m.Priority() > maxPriority || m.Facility == Kern {
			t.Fatalf("%q: priority %d", raw, m.Priority())
		}
		line, _ := AppendRFC3164(nil, stamp, nil, &m)
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%q: not one line: %q", raw, line)
		}
		if !utf8.Valid(line) {
			t.Fatalf("%q: not UTF-8: %q", raw, line)
		}
		if i := bytes.IndexFunc(line[:len(line)-1], func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }); i >= 0 {
			t.Fatalf("%q: control character at %d: %q", raw, i, line)
		}
		// What was written reads back as the same; without a tag, or with one that
		// only RFC 5424 can have, the host is text.
		host := []byte("box")
		line, body := AppendRFC3164(nil, stamp, host, &m)
		var again Message
		Parse(append([]byte("<13>"), line...), &again, host)
		line2, _ := AppendRFC3164(nil, stamp, host, &again)
		if !bytes.Equal(line, line2) && (new(Message).cutTag(line[body:len(line)-1]) || string(again.Text) != "box "+string(line[body:len(line)-1])) {
			t.Fatalf("%q: not stable:\n%q\n%q", raw, line, line2)
		}
		// Of a message that is not RFC 5424 the parts are the same, too.
		if m.SD == nil && m.MsgID == nil && !strings.Contains(string(raw), ">1 ") {
			tag, pid, text := appendEscaped(nil, m.Tag), appendEscaped(nil, m.PID), appendEscaped(nil, m.Text)
			if len(m.Tag) > 0 && (!bytes.Equal(tag, again.Tag) || !bytes.Equal(pid, again.PID) || !bytes.Equal(text, again.Text)) {
				t.Fatalf("%q: parts differ: %q %q %q", raw, again.Tag, again.PID, again.Text)
			}
		}
		// Nothing is lost: the text is the message's end.
		if trimmed := bytes.TrimRight(raw, "\x00\n"); !bytes.HasSuffix(trimmed, m.Text) {
			t.Fatalf("%q: text %q", raw, m.Text)
		}
	})
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain ä #1": "plain ä #1", "a\nb\x1b[2J": "a#012b#033[2J", "\xff\u0085\x7f": "#377#302#205#177", "a\u202eb\u2069": "a#342#200#256b#342#201#251", "#033": "#033",
	} {
		if got := Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
		if IsVisible([]byte(text)) != (want == text) || IsVisible([]byte("a\n\tb"+text)) != IsVisible([]byte(text)) {
			t.Errorf("IsVisible(%q) = %t", text, IsVisible([]byte(text)))
		}
	}
}

// Every byte at every place of a word is found.
func TestPlain(t *testing.T) {
	for c := range 256 {
		for length := range 20 {
			for at := range length {
				b := bytes.Repeat([]byte{'~'}, length)
				b[at] = byte(c)
				want := length
				if c < ' ' || c >= 0x7f {
					want = at
				}
				if got := plain(b); got != want {
					t.Fatalf("plain(%q) = %d, want %d", b, got, want)
				}
				if c == '"' || c == '\\' {
					want = at
				}
				if got := plainJSON(b); got != want {
					t.Fatalf("plainJSON(%q) = %d, want %d", b, got, want)
				}
			}
		}
	}
}
