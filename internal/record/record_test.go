package record

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestMember(t *testing.T) {
	for _, tt := range []struct{ object, want string }{
		{`{"a": 1}`, "1"},
		{"\n{\n\t\"b\": {\"a\": 2},\n\t\"a\": \"x \\\" y\"\n}\n", `"x \" y"`},
		{`{"b": [{"a": 2}], "c": "\"a\": 3,", "a":4}`, "4"},
		{`{"b": "a", "c": 1}`, ""},
		{`{"a": {"a": 2}}`, ""},
		{`{"a": 1, "a": 2}`, ""},
		{`{"a": 1} {"a": 1}`, ""},
		{`{"a": 1`, ""},
		{`{"a": "x`, ""},
		{`{"a": 1}}`, ""},
		{`"a": 1`, ""},
		{``, ""},
	} {
		if got := member([]byte(tt.object), "a"); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.object, got, tt.want)
		}
	}
}

func FuzzMember(f *testing.F) {
	f.Add(`{"b": {"a": 2}, "a": "1", "c": [true, null]}`)
	f.Fuzz(func(t *testing.T, object string) {
		got := member([]byte(object), "a")
		var want map[string]json.RawMessage
		if json.Unmarshal([]byte(object), &want) != nil || want == nil {
			return
		}
		raw := strings.TrimSpace(string(want["a"]))
		// One that is there twice, or written with escapes, is not found.
		if got != "" && got != raw || got == "" && raw != "" && !strings.ContainsAny(raw, "[{") && strings.Count(object, `"a"`) == 1 && !strings.Contains(object, `\u`) {
			t.Fatalf("%q: %q, want %q", object, got, raw)
		}
	})
}

// A process is told from others by what is written of it.
func TestProcess(t *testing.T) {
	s := Self()
	if n, err := strconv.Atoi(s.Started); err != nil || n <= 0 || s.PID != os.Getpid() {
		t.Errorf("%+v", s)
	}
	if p, ok := ParseProcess(s.String()); !ok || p != s {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := ParseProcess("x/1"); ok {
		t.Error("x is a process")
	}
}
