package syslog

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var layoutTests = []struct {
	raw        string
	sender     Sender
	cut        bool
	want, json string
}{
	{raw: "<13>a[1]: b", want: "T box a 1 - - b\n", json: `{"timestamp":"T","hostname":"box","facility":"user","severity":"notice","appname":"a","procid":"1","msg":"b"}`},
	{raw: "", want: "T box - - - -\n", json: `{"timestamp":"T","hostname":"box","facility":"user","severity":"notice","msg":""}`},
	{
		raw: "<165>1 - - a 7 ID [x y=\"\u00e4\"] t\n1", sender: Sender{Known: true, PID: 4, UID: 5, GID: 6, Differs: true}, cut: true,
		want: "T box a 7 ID [sender@32473 pid=\"4\" uid=\"5\" gid=\"6\"][x y=\"\u00e4\"] t#0121 [cut]\n",
		json: `{"timestamp":"T","hostname":"box","facility":"local4","severity":"notice","appname":"a","procid":"7","msgid":"ID","sd":"[x y=\"ä\"]","msg":"t\n1","sender":{"pid":4,"uid":5,"gid":6},"cut":true}`,
	},
	{
		raw: `<13>1 - - a - - [x][sender@32473 uid="0"] t`, sender: Sender{Known: true, PID: 4, UID: 5, GID: 6},
		want: "T box a - - [sender@32473 pid=\"4\" uid=\"5\" gid=\"6\"] [x][sender@32473 uid=\"0\"] t\n",
		json: `{"timestamp":"T","hostname":"box","facility":"user","severity":"notice","appname":"a","sd":"[x][sender@32473 uid=\"0\"]","msg":"t","sender":{"pid":4,"uid":5,"gid":6}}`,
	},
	{raw: `<13>1 - - a - - [sender@32473 uid="0"]`, want: "T box a - - - [sender@32473 uid=\"0\"]\n", json: `{"timestamp":"T","hostname":"box","facility":"user","severity":"notice","appname":"a","sd":"[sender@32473 uid=\"0\"]","msg":""}`},
	{
		raw: "<13>\u00fc\xff: \"\\\t\r\x1b\x00\xff\u0085\u202e\u00e4\U0001f600", want: "T box #303#274#377 - - - \"\\#011#015#033#000#377#302#205#342#200#256\u00e4\U0001f600\n",
		json: `{"timestamp":"T","hostname":"box","facility":"user","severity":"notice","appname":"ü#377","msg":"\"\\\t\u000d\u001b\u0000#377\u0085\u202eä😀"}`,
	},
}

func TestLayouts(t *testing.T) {
	for _, tt := range layoutTests {
		var m Message
		Parse([]byte(tt.raw), &m)
		m.Sender, m.Cut = tt.sender, tt.cut
		if got := string(AppendRFC5424(nil, []byte("T"), []byte("box"), nil, &m)); got != tt.want {
			t.Errorf("%q: RFC 5424: got\n%s want\n%s", tt.raw, got, tt.want)
		}
		if got := string(AppendJSON(nil, []byte("T"), []byte("box"), &m)); got != tt.json+"\n" {
			t.Errorf("%q: JSON: got\n%s want\n%s", tt.raw, got, tt.json)
		}
	}
}

func TestMarks(t *testing.T) {
	var m Message
	Parse([]byte("<13>a[1]: b"), &m)
	m.Sender = Sender{Known: true, PID: 4, UID: 5, GID: 6}
	for _, want := range []string{"S a[1]: b\n", "S a[1]: b [sent by pid=4 uid=5 gid=6]\n", "S a[1]: b [cut] [sent by pid=4 uid=5 gid=6]\n"} {
		if got, _ := AppendRFC3164(nil, []byte("S"), nil, &m); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		m.Cut, m.Sender.Differs = m.Sender.Differs, true
	}
}

func TestClaims(t *testing.T) {
	for _, tt := range []struct {
		pid  string
		want bool
	}{{"", true}, {"12", true}, {"012", true}, {"13", false}, {"x", true}, {"-12", true}, {"99999999999999999999999", true}, {"4294967308", false}} {
		m := Message{PID: []byte(tt.pid)}
		if got := m.Claims(12); got != tt.want {
			t.Errorf("%q: got %v", tt.pid, got)
		}
	}
}

func TestPreciseStamp(t *testing.T) {
	old := time.Local
	defer func() { time.Local = old }()
	time.Local = time.FixedZone("", 5400)
	var s PreciseStamp
	at := time.Date(2026, 2, 3, 4, 5, 6, 7008999, time.Local)
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{at, "2026-02-03T04:05:06.007008+01:30"},
		{at.Add(900 * time.Millisecond), "2026-02-03T04:05:06.907008+01:30"},
		{at.Add(time.Second), "2026-02-03T04:05:07.007008+01:30"},
	} {
		if got := string(s.Bytes(tt.at)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.Bytes(at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	time.Local = time.UTC
	if got := string(new(PreciseStamp).Bytes(at)); got != "2026-02-03T02:35:06.007008Z" {
		t.Errorf("UTC: %s", got)
	}
}

func TestLayoutsDoNotAllocate(t *testing.T) {
	raw := []byte("<30>1 - - cron 12 X [a b=\"c\"] hello\tw\u00f6rld \"\xff")
	dst := make([]byte, 0, 1024)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		Parse(raw, &m)
		m.Sender.Known = true
		dst = AppendRFC5424(dst[:0], raw, raw, nil, &m)
		dst = AppendJSON(dst[:0], raw[:3], raw[:3], &m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var kernelTests = []struct {
	raw, tag, pid, text string
	priority            Priority
	sequence            uint64
	ok                  bool
}{
	{raw: "6,339,5140900,-;NET: Registered\n", tag: "kernel", text: "NET: Registered", priority: 6, sequence: 339, ok: true},
	{raw: "30,340,1,-,caller=T1;systemd[1]: up\n SUBSYSTEM=acpi\n DEVICE=+acpi:PNP0A03:00\n", tag: "systemd", pid: "1", text: "up", priority: 30, sequence: 340, ok: true},
	{raw: `4,1,1,-;a\x0ab\x5c\xC3\xa4\x1\xzz\`, tag: "kernel", text: "a\nb\\\u00e4\\x1\\xzz\\", priority: 4, sequence: 1, ok: true},
	{raw: "400,1,1,-;x", text: "x", priority: 184, sequence: 1, ok: true},
	{raw: "6,1;", tag: "kernel", priority: 6, sequence: 1, ok: true},
	{raw: "6,x,1,-;x"},
	{raw: ";x"},
	{raw: "x"},
	{raw: "99999999999999999999,1,1;x"},
	{raw: ""},
}

func TestParseKernel(t *testing.T) {
	for _, tt := range kernelTests {
		var m Message
		sequence, ok := ParseKernel([]byte(tt.raw), &m)
		if ok != tt.ok || sequence != tt.sequence || m.Priority() != tt.priority || string(m.Tag) != tt.tag || string(m.PID) != tt.pid || string(m.Text) != tt.text {
			t.Errorf("%q: %d %v %d %q %q %q", tt.raw, sequence, ok, m.Priority(), m.Tag, m.PID, m.Text)
		}
	}
}

func FuzzParseKernel(f *testing.F) {
	for _, tt := range kernelTests {
		f.Add([]byte(tt.raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		if _, ok := ParseKernel(bytes.Clone(raw), &m); !ok {
			return
		}
		if m.Priority() > maxPriority || len(m.Text) > len(raw) {
			t.Fatalf("%q: %d %q", raw, m.Priority(), m.Text)
		}
		if line, _ := AppendRFC3164(nil, nil, nil, &m); bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("%q: not one line: %q", raw, line)
		}
	})
}

// Each layout makes one line of any message, and reads back.
func FuzzLayouts(f *testing.F) {
	for _, tt := range layoutTests {
		f.Add([]byte(tt.raw), tt.sender.Known, tt.cut)
	}
	for _, tt := range parseTests {
		f.Add([]byte(tt.raw), true, false)
	}
	stamp, host := []byte("2026-02-03T04:05:06.000007+01:00"), []byte("box")
	f.Fuzz(func(t *testing.T, raw []byte, known, cut bool) {
		var m Message
		Parse(raw, &m)
		m.Sender, m.Cut = Sender{Known: known, PID: 1, UID: 2, GID: 3}, cut
		line := AppendRFC5424(nil, stamp, host, nil, &m)
		if bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) {
			t.Fatalf("%q: not one line: %q", raw, line)
		}
		var again Message
		if !parse5424(append([]byte("1 "), line[:len(line)-1]...), &again) {
			t.Fatalf("%q: not RFC 5424: %q", raw, line)
		}
		if known && !strings.HasPrefix(string(again.SD), `[sender@32473 pid="1" uid="2" gid="3"]`) || strings.Count(string(again.SD), senderID) > 1 {
			t.Fatalf("%q: sender in %q", raw, line)
		}
		again.SD = bytes.TrimPrefix(again.SD, []byte(`[sender@32473 pid="1" uid="2" gid="3"]`))
		again.Sender = m.Sender
		if line2 := AppendRFC5424(nil, stamp, host, nil, &again); !bytes.Equal(line, line2) {
			t.Fatalf("%q: not stable:\n%q\n%q", raw, line, line2)
		}
		line = AppendJSON(nil, stamp, host, &m)
		var object map[string]any
		if err := json.Unmarshal(line, &object); err != nil || bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) {
			t.Fatalf("%q: %v: %q", raw, err, line)
		}
		if utf8.Valid(m.Text) && object["msg"] != string(m.Text) {
			t.Fatalf("%q: text %q", raw, object["msg"])
		}
	})
}

func TestContainerData(t *testing.T) {
	web := ContainerData(`we"b`, "0123")
	for _, tt := range []struct {
		m    Message
		data []byte
		want string
	}{
		{Message{Text: []byte("x")}, web, `T box - - - [container@32473 name="we\"b" id="0123"] x`},
		{Message{SD: []byte("[a]")}, ContainerData("c", ""), `T box - - - [container@32473 name="c"][a]`},
		{Message{SD: []byte("[a]"), Sender: Sender{Known: true, PID: 1}}, ContainerData("c", ""), `T box - - - [container@32473 name="c"][sender@32473 pid="1" uid="0" gid="0"][a]`},
		{Message{SD: []byte(`[container@32473 name="c"]`)}, nil, `T box - - - - [container@32473 name="c"]`},
	} {
		if got := string(AppendRFC5424(nil, []byte("T"), []byte("box"), tt.data, &tt.m)); got != tt.want+"\n" {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
