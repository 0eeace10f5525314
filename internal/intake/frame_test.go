package intake

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"devlog/internal/batch"
)

// frames feeds the pieces to a framer like reads of a connection, and returns the messages. A
// cut message ends with "~", the rest at the end with "|".
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
	long := strings.Repeat("x", batch.SlotSize)
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
		{[]string{"6 <13>ab7 <13>abc"}, []string{"<13>ab", "<13>abc"}},
		{[]string{"6 <13>a", "b", "7", " <", "13>abc"}, []string{"<13>ab", "<13>abc"}},
		{[]string{"8 <13>a\nb\x006 <13>ab\n6 <13>cd\n\n"}, []string{"<13>a\nb\x00", "<13>ab", "<13>cd"}},
		{[]string{"6 <13>ab", "\n", "6 <13>cd", "\x00", "x\n"}, []string{"<13>ab", "<13>cd", "x"}},
		{[]string{"6 <13>ab<13>c\n6 <13>ab\n"}, []string{"<13>ab", "<13>c", "6 <13>ab"}},
		{[]string{"6 <13>ab6 <13>a"}, []string{"<13>ab", "6 <13>a|"}},
		{[]string{"6 <13>ab6"}, []string{"<13>ab", "6|"}},
		{[]string{"65540 <13>", long, "6 <13>ab"}, []string{"65536~", "<13>ab"}},
		{[]string{"99999999 <13>ab\nc\n"}, []string{"99999999 <13>ab", "c"}},
		{[]string{"06 <13>ab\n"}, []string{"06 <13>ab"}},
		{[]string{"2 <13>ab\n"}, []string{"2 <13>ab"}},
		{[]string{"6  <13>ab\n"}, []string{"6  <13>ab"}},
		{[]string{"6 <b>\nc\n"}, []string{"6 <b>", "c"}},
		{[]string{"42", "\n", "6 <13>ab\n"}, []string{"42", "6 <13>ab"}},
		{[]string{"a\x006 <13>ab\x00"}, []string{"a", "6 <13>ab"}},
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

// However the data is split, no byte of a message is lost, and each end ends one message.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("a\x00b\nc\x00"), 1)
	f.Add([]byte("a\nb\n\n\x00c"), 3)
	f.Add([]byte("8 <13>a\nb\x006 <13>ab\n6 <13>cd\n<14>a\n"), 5)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = max(1, size&0xff)
		var pieces [][]byte
		for piece := range slices.Chunk(data, size) {
			pieces = append(pieces, piece)
		}
		got := frames(pieces...)
		if length, begin := readLength(data); length > 0 {
			if end := begin + length; end <= len(data) && length <= batch.SlotSize && got[0] != string(data[begin:end]) {
				t.Fatalf("%q in %d: %q", data, size, got)
			}
			return
		}
		noEnds := strings.NewReplacer("\n", "", "\x00", "")
		text := strings.TrimRight(strings.Join(got, ""), "|") // which marks what has no end
		want := strings.TrimRight(string(data), "|")
		if len(data) < batch.SlotSize && strings.TrimRight(noEnds.Replace(text), "|") != strings.TrimRight(noEnds.Replace(want), "|") {
			t.Fatalf("%q in %d: %q", data, size, got)
		}
		if n := bytes.Count(data, []byte{0}) + bytes.Count(data, []byte{'\n'}) + 1; len(got) > n {
			t.Fatalf("%q in %d: %d messages: %q", data, size, len(got), got)
		}
	})
}
