package receiver

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/pidfd"
)

const (
	// recordName is the file beside the private socket in which a repair notes
	// which receiver it has started.
	recordName = ".devlog-repair"
	// maxRecord is how much of it is read, in bytes.
	maxRecord = 64 << 10
)

// process tells this process from a later one that got the same ID.
type process struct {
	pid     int
	started string // pidfd.StartTime; empty if it could not be read
}

// self is this process. It is to be called early: /proc may be gone at the end.
func self() process {
	started, _ := pidfd.OwnStartTime()
	return process{os.Getpid(), started}
}

// notedIn reports whether the record in the directory names the process. A
// repair that replaces a receiver notes the new one before it ends the old.
func (p process) notedIn(dir int) bool {
	data, ok := readRecord(dir)
	return ok && p.started != "" && member(data, "receiver") == strconv.Itoa(p.pid) && member(data, "started") == `"`+p.started+`"`
}

// readRecord reads the record in a directory that others may write in: the text
// of a link or, where that was too short, a regular file.
func readRecord(dir int) (data []byte, ok bool) {
	var text [unix.PathMax]byte
	if n, err := unix.Readlinkat(dir, recordName, text[:]); err == nil {
		return bytes.Clone(text[:n]), true
	}
	fd, err := file.OpenIn(dir, recordName, unix.O_RDONLY, 0, file.Regular)
	if err != nil {
		return nil, false
	}
	data, err = file.ReadAll(os.NewFile(uintptr(fd), recordName), maxRecord)
	return data, err == nil
}

// member returns the text of the number or string that the JSON object has
// under the key, as it is written; empty if there is none, more than one, or
// what would not be an object. It stands for encoding/json, which would add a
// sixth to this program and 300 kB to the memory of each receiver.
func member(object []byte, key string) (value string) {
	const blank = " \t\r\n"
	var last []byte // string before, in the object itself
	depth, isValue, found := 0, false, false
	for rest := bytes.Trim(object, blank); len(rest) > 0; {
		size := 1
		switch c := rest[0]; {
		case c == '{', c == '[':
			depth++
			isValue = false
		case c == '}', c == ']':
			depth--
		case c == ':':
			isValue = depth == 1
		case c == ',', strings.IndexByte(blank, c) >= 0:
		default:
			if size = tokenSize(rest); size == 0 {
				return ""
			}
			if isValue && string(last) == `"`+key+`"` {
				if found {
					return ""
				}
				value, found = string(rest[:size]), true
			}
			last, isValue = nil, false
			if depth == 1 {
				last = rest[:size]
			}
		}
		rest = rest[size:]
		if depth < 0 || (depth == 0) != (len(rest) == 0) {
			return "" // not one object
		}
	}
	return value
}

// tokenSize is the length of the string, number or word that text begins with;
// 0 for a string without an end.
func tokenSize(text []byte) int {
	if text[0] != '"' {
		if i := bytes.IndexAny(text, " \t\r\n,:[]{}\""); i > 0 {
			return i
		}
		return len(text)
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}
