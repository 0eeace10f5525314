package receiver

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"devlog/internal/output"
)

// fill gives each number, text, time and flag in v another value.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			*(*time.Time)(v.Addr().UnsafePointer()) = time.Unix(0, *n)
			return
		}
		for i := range v.NumField() {
			f := v.Field(i)
			fill(reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem(), n)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("te xt\n\"\\\xff\x00:" + strings.Repeat("é", int(*n)))
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("line\nanother \xfe"))
		}
	}
}

// full is a snapshot in which nothing is zero.
func full() *snapshot {
	s := &snapshot{keeper: &keeperState{}, kernel: &kernelState{}, store: 9, awaits: true}
	n := int64(0)
	fill(reflect.ValueOf(&s.base), &n)
	fill(reflect.ValueOf(s.keeper), &n)
	fill(reflect.ValueOf(s.kernel), &n)
	for range 2 {
		p, k, o := &placeState{}, &socketState{}, &outputState{}
		for _, v := range []any{p, k, o} {
			fill(reflect.ValueOf(v), &n)
		}
		k.kind, k.place = kindDgram, 1
		c := &connState{}
		fill(reflect.ValueOf(c), &n)
		c.from = 0
		c.sender.Differs = false // that is a message's
		s.conns = append(s.conns, c)
		o.Lost = []output.Loss{{Reason: "disk full", N: 7}, {Reason: "a b", N: 8}}
		s.places, s.sockets, s.outputs = append(s.places, p), append(s.sockets, k), append(s.outputs, o)
	}
	return s
}

// All of a snapshot is handed over.
func TestSnapshot(t *testing.T) {
	for name, s := range map[string]*snapshot{"full": full(), "empty": {}} {
		text := s.format()
		got, err := parseSnapshot(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Errorf("%s: got %+v, want %+v", name, got, s)
		}
		if again := got.format(); !bytes.Equal(again, text) {
			t.Errorf("%s: %q, then %q", name, text, again)
		}
	}
	// What a later program adds and this one can do without is left out.
	text := string(full().format())
	text = strings.Replace(text, "\nplace ", "\nmore 1 2 \"x\"\nplace ", 1)
	text += "last\n"
	if got, err := parseSnapshot([]byte(text)); err != nil || !reflect.DeepEqual(got, full()) {
		t.Errorf("with more lines: %v", err)
	}
	lines := strings.SplitAfter(string(full().format()), "\n")
	lines[1] = strings.TrimSuffix(lines[1], "\n") + " 17 \"more\"\n"
	if got, err := parseSnapshot([]byte(strings.Join(lines, ""))); err != nil || !reflect.DeepEqual(got, full()) {
		t.Errorf("with more words: %v", err)
	}
}

func TestParseSnapshotFails(t *testing.T) {
	text := string(full().format())
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":          {"", `begins with ""`},
		"another version":  {strings.Replace(text, "state 1", "state 2", 1), `begins with "devlogd-state 2", and this program`},
		"no base":          {stateHead + "\n", `0 lines "base", want 1`},
		"two":              {text + strings.SplitAfter(text, "\n")[1], `2 lines "base"`},
		"short":            {stateHead + "\nbase \"x\" 1\n", "line 2 (base): it ends early"},
		"no number":        {strings.Replace(text, "\nlost \"disk full\" 7", "\nlost \"disk full\" x", 1), "(lost): strconv"},
		"no text":          {strings.Replace(text, "\nbase \"", "\nbase x\"", 1), "(base): invalid syntax"},
		"lost by nobody":   {stateHead + "\nlost \"x\" 1\n", "no output before it"},
		"another socket":   {strings.Replace(text, `"dgram"`, `"seqpacket"`, 1), `a socket of type "seqpacket" is more`},
		"a place too many": {strings.ReplaceAll(text, "\nplace ", "\nplaces "), "place 1 of 0"},
	} {
		if _, err := parseSnapshot([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add(full().format())
	f.Add((&snapshot{}).format())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSnapshot(data)
		if err != nil {
			return
		}
		text := s.format()
		again, err := parseSnapshot(text)
		if err != nil || !bytes.Equal(again.format(), text) {
			t.Errorf("%q: %v, %q", data, err, text)
		}
	})
}
