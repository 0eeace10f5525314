package receiver

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// frames feeds pieces as a connection's reads to a framer and returns the
// messages; a cut one ends with "~", and what is left at the end with "|".
func frames(pieces ...[]byte) (list []string) {
	var f framer
	var rest []byte
	for _, piece := range pieces {
		rest = append(rest, piece...)
		for {
			message, more, cut, ok := f.next(rest)
			rest = more
			if !ok {
				break
			}
			text := string(message)
			if cut {
				text = fmt.Sprint(len(message), "~")
			}
			list = append(list, text)
		}
	}
	if len(rest) > 0 {
		list = append(list, string(rest)+"|")
	}
	return list
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", slotSize)
	for _, tt := range []struct {
		pieces []string
		want   []string
	}{
		{[]string{"a\x00b\x00"}, []string{"a", "b"}},
		{[]string{"a\nb\n"}, []string{"a", "b"}},
		{[]string{"a\nb"}, []string{"a", "b|"}},
		{[]string{"a", "b", "\n", "c\n"}, []string{"ab", "c"}},
		{[]string{"a\n\x00b\n\x00"}, []string{"a\n", "b\n"}},
		{[]string{"a\nb\x00c\nd\x00"}, []string{"a\nb", "c\nd"}},
		{[]string{"a\x00", "b\n", "c\x00"}, []string{"a", "b\nc"}},
		{[]string{"a\n", "b\x00", "c\nd\n"}, []string{"a", "b", "c", "d"}},
		{[]string{"a\n", "\n\n", "\x00", "b\n"}, []string{"a", "b"}},
		{[]string{"\n", "\x00"}, nil},
		{[]string{""}, nil},
		{[]string{long + "\x00b\x00"}, []string{long, "b"}},
		{[]string{long, "y\x00b\x00"}, []string{"65536~", "b"}},
		{[]string{long[1:], "yz\x00b\x00"}, []string{"65536~", "b"}},
		{[]string{long, long, long, "\nb\n"}, []string{"65536~", "b"}},
		{[]string{long, long}, []string{"65536~"}},
	} {
		var pieces [][]byte
		for _, p := range tt.pieces {
			pieces = append(pieces, []byte(p))
		}
		if got := frames(pieces...); !slices.Equal(got, tt.want) {
			t.Errorf("%.40q: got %.80q, want %.80q", tt.pieces, got, tt.want)
		}
	}
}

// However what is sent is split, no byte of a message is lost, and each end
// ends one.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("a\x00b\nc\x00"), 1)
	f.Add([]byte("a\nb\n\n\x00c"), 3)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = max(1, size&0xff)
		var pieces [][]byte
		for piece := range slices.Chunk(data, size) {
			pieces = append(pieces, piece)
		}
		got := frames(pieces...)
		noEnds := strings.NewReplacer("\n", "", "\x00", "")
		text := strings.TrimRight(strings.Join(got, ""), "|") // which marks what has no end
		want := strings.TrimRight(string(data), "|")
		if len(data) < slotSize && strings.TrimRight(noEnds.Replace(text), "|") != strings.TrimRight(noEnds.Replace(want), "|") {
			t.Fatalf("%q in %d: %q", data, size, got)
		}
		if n := bytes.Count(data, []byte{0}) + bytes.Count(data, []byte{'\n'}) + 1; len(got) > n {
			t.Fatalf("%q in %d: %d messages: %q", data, size, len(got), got)
		}
	})
}
