// Package record owns the file beside a private socket in which a repair records what it
// changed and which receiver it started. devlog-hook writes it (package changes). devlogd
// reads from it whether it is that receiver. The file is a link whose text is a JSON object
// or, if a link cannot hold the text, a regular file.
package record

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"devlog/internal/dirfd"
	"devlog/internal/names"
	"devlog/internal/pidfd"
)

// maxRecord is the longest record, in bytes.
const maxRecord = 64 << 10

// Process is a process that is, or was, a receiver: it is told from a later one with the
// same ID.
type Process struct {
	PID     int
	Started string // pidfd.StartTime; empty if it could not be read
}

// Self is this process. Call it early: /proc may be gone at the end.
func Self() Process {
	started, _ := pidfd.OwnStartTime()
	return Process{os.Getpid(), started}
}

// ParseProcess reads what String has written; ok is false if that is no process.
func ParseProcess(text string) (p Process, ok bool) {
	pid, started, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(pid)
	return Process{n, started}, err == nil
}

func (p Process) String() string { return strconv.Itoa(p.PID) + "/" + p.Started }

// NotedIn returns whether the record in the directory names the process as the receiver.
// Others may write to the directory. A repair that replaces a receiver notes the new one before
// it ends the old.
func (p Process) NotedIn(dir int) bool {
	data, err := dirfd.ReadNote(dir, names.Record, maxRecord)
	return err == nil && p.Started != "" &&
		member(data, "receiver") == strconv.Itoa(p.PID) && member(data, "started") == `"`+p.Started+`"`
}

// member returns the text of the number or string under the key in the JSON object, unchanged.
// It returns "" if the key is missing or duplicate, or the text is not an object.
func member(object []byte, key string) (value string) {
	const blank = " \t\r\n"
	var last []byte // the string before, in the object itself
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
			return "" // not exactly one object
		}
	}
	return value
}

// tokenSize returns the length of the string, number or word at the start of the text; 0 for a
// string without an end.
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
