package receiver

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"
)

func TestImagePages(t *testing.T) {
	const maps = `00400000-0052f000 r-xp 00000000 fe:00 1045 /usr/libexec/devlog/devlogd
0052f000-00648000 r--p 0012f000 fe:00 1045 /usr/libexec/devlog/devlogd
00648000-00652000 rw-p 00248000 fe:00 1045 /usr/libexec/devlog/devlogd
00652000-0066f000 rw-p 00000000 00:00 0
2a77b7400000-2a77b7800000 rw-p 00000000 00:00 0
7f0000000000-7f0000001000 r--p 00000000 fe:00 77 /usr/lib/other
nonsense r--p 00000000 fe:00 1045 /x
7ffd1000-7ffd2000 r-xp 00000000 00:00 0                                  [vdso]
`
	want := []pages{{0x400000, 0x52f000}, {0x52f000, 0x648000}}
	if got := imagePages([]byte(maps)); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got := imagePages(nil); got != nil {
		t.Errorf("of nothing: %x", got)
	}
}

// image is the head of an ELF file of that type with these program headers.
func image(kind uint16, headers ...uint32) []byte {
	b := make([]byte, 64+56*len(headers))
	copy(b, "\x7fELF\x02\x01\x01")
	n := binary.NativeEndian
	n.PutUint16(b[16:], kind)
	n.PutUint64(b[32:], 64)
	n.PutUint16(b[54:], 56)
	n.PutUint16(b[56:], uint16(len(headers)))
	for i, h := range headers {
		n.PutUint32(b[64+56*i:], h)
	}
	return b
}

// image32 is image for 32 bits.
func image32(kind uint16, headers ...uint32) []byte {
	b := make([]byte, 52+32*len(headers))
	copy(b, "\x7fELF\x01\x01\x01")
	n := binary.NativeEndian
	n.PutUint16(b[16:], kind)
	n.PutUint32(b[28:], 52)
	n.PutUint16(b[42:], 32)
	n.PutUint16(b[44:], uint16(len(headers)))
	for i, h := range headers {
		n.PutUint32(b[52+32*i:], h)
	}
	return b
}

func TestFixedImage(t *testing.T) {
	beyond := image(etExec, 1)
	binary.NativeEndian.PutUint64(beyond[32:], 1<<63)
	for _, tt := range []struct {
		name string
		head []byte
		want bool
	}{
		{"static", image(etExec, 6, 1, 1), true},
		{"linked when it runs", image(etExec, 1, ptDynamic), false},
		{"anywhere", image(3, 1), false},
		{"cut", image(etExec, 1)[:80], false},
		{"headers elsewhere", beyond, false},
		{"static, 32 bits", image32(etExec, 6, 1, 1), true},
		{"linked when it runs, 32 bits", image32(etExec, 1, ptDynamic), false},
		{"anywhere, 32 bits", image32(3, 1), false},
		{"cut, 32 bits", image32(etExec, 1)[:70], false},
		{"of no class", append([]byte("\x7fELF\x03"), image(etExec, 1)[5:]...), false},
		{"a script", []byte("#!/bin/sh\n"), false},
		{"nothing", nil, false},
	} {
		if got := fixedImage(tt.head); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
	if isUnlinked("/nowhere") {
		t.Error("a missing file")
	}
	if link, err := os.Readlink("/proc/self/exe"); err != nil || isUnlinked(link) != isUnlinked("/proc/self/exe") {
		t.Errorf("%s and /proc/self/exe differ, %v", link, err)
	}
	forgetStart() // and go on
}
