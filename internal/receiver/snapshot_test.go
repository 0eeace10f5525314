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

// What another version has written otherwise is read as far as it can be: what is
// missing is as in a receiver that has just started.
func TestParseSnapshotOfAnotherVersion(t *testing.T) {
	text := string(full().format())
	short := stateHead + "\nbase \"x\" 1\nplace\nsocket 7\nconnection 8\nsandbox\nkernel\noutput \"/m\"\n"
	for name, tt := range map[string]struct {
		text string
		want func(s *snapshot) bool
	}{
		"a later number": {strings.Replace(text, "state 1", "state 2", 1), func(s *snapshot) bool { return reflect.DeepEqual(s, full()) }},
		"no base":        {stateHead + "\n", func(s *snapshot) bool { return s.base.init == -1 && s.base.root == -1 && s.store == -1 }},
		"a word less":    {short, func(s *snapshot) bool { return s.base.open && s.base.init == -1 && s.base.upgrades == 0 }},
		"words less": {short, func(s *snapshot) bool {
			return s.sockets[0].fd == 7 && s.sockets[0].place == -1 && s.places[0].fd == -1
		}},
		"words less, too": {short, func(s *snapshot) bool {
			return s.conns[0].from == -1 && s.sandbox.mark == -1 && s.kernel.fd == -1 && s.outputs[0].FD == -1
		}},
		"no number":        {strings.Replace(text, "\nlost \"disk full\" 7", "\nlost \"disk full\" x", 1), func(s *snapshot) bool { return s.outputs[0].Lost[0].N == 0 }},
		"no text":          {strings.Replace(text, "\nbase \"", "\nbase x\"", 1), func(s *snapshot) bool { return len(s.sockets) == 2 }},
		"lost by nobody":   {stateHead + "\nlost \"x\" 1\n", func(s *snapshot) bool { return len(s.outputs) == 0 }},
		"a place too many": {strings.ReplaceAll(text, "\nplace ", "\nplaces "), func(s *snapshot) bool { s.dropMissing(); return s.sockets[0].place == -1 }},
		"a socket less": {strings.Replace(text, "\nsocket ", "\nsocket x ", 1), func(s *snapshot) bool {
			s.dropMissing()
			return len(s.sockets) == 1 && s.conns[0].from == -1
		}},
	} {
		s, err := parseSnapshot([]byte(tt.text))
		if err != nil || !tt.want(s) {
			t.Errorf("%s: %v, %+v", name, err, s)
		}
	}
	for _, text := range []string{"", "garbage", "devlogd-other 1\nbase"} {
		if _, err := parseSnapshot([]byte(text)); err == nil || !strings.Contains(err.Error(), "it begins with") {
			t.Errorf("%q: %v", text, err)
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
