package syslog

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// MaxRecord is the longest record for /dev/kmsg, in bytes. From 1024 on the kernel returns
// EINVAL (devkmsg_write in kernel/printk/printk.c).
const MaxRecord = 1000

// KernelRecord returns the text, "TAG: TEXT", as one record for /dev/kmsg, which must be
// written at once. It cuts text that is too long.
func KernelRecord(p Priority, text string) []byte {
	record := append(strconv.AppendUint([]byte{'<'}, uint64(p), 10), '>')
	if room := MaxRecord - len(record) - len("\n"); len(text) > room {
		for room > 0 && !utf8.RuneStart(text[room]) {
			room--
		}
		text = text[:room]
	}
	return append(append(record, text...), '\n')
}

var kernelTag = []byte("kernel")

// ParseKernel reads a record of /dev/kmsg into m:
// "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT\n". It ignores the lines " KEY=VALUE\n"
// after it, which describe a device (Linux, Documentation/ABI/testing/dev-kmsg). It decodes
// escapes (\xNN) in raw itself. It returns the record's number, and whether raw was a record.
// A record from user space has a facility other than kern, and its tag if it has one.
func ParseKernel(raw []byte, m *Message) (sequence uint64, ok bool) {
	*m = Message{Kernel: true}
	head, text, ok := bytes.Cut(raw, []byte{';'})
	if !ok {
		return 0, false
	}
	first, rest, _ := bytes.Cut(head, []byte{','})
	second, _, _ := bytes.Cut(rest, []byte{','})
	pri, ok := number(first)
	sequence, ok2 := number(second)
	if !ok || !ok2 || pri > 0xffff {
		return 0, false
	}
	m.Facility, m.Severity = Facility(min(pri>>3, NumFacilities-1)), Severity(pri&7)
	text, _, _ = bytes.Cut(text, []byte{'\n'})
	text = unescape(text)
	if m.Facility == Kern {
		m.Tag, m.Text = kernelTag, text
		return sequence, true
	}
	m.Text = text
	m.cutTag(text)
	return sequence, true
}

func number(b []byte) (n uint64, ok bool) {
	if !isNumber(b) || len(b) > 19 {
		return 0, false
	}
	for _, c := range b {
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// unescape decodes \xNN in b itself.
func unescape(b []byte) []byte {
	first := bytes.IndexByte(b, '\\')
	if first < 0 {
		return b
	}
	out := b[:first]
	for i := first; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && b[i+1] == 'x' {
			high, low := digit(b[i+2]), digit(b[i+3])
			if high >= 0 && low >= 0 {
				out = append(out, byte(high<<4|low))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return out
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
