// Package record owns the file beside a private socket in which a repair records what it
// changed and which receiver it started. devlog-hook writes it (package changes). devlogd
// reads from it whether it is that receiver. The file is a link whose text is a JSON object
// or, if a link cannot hold the text, a regular file.
package record

import (
	"encoding/json"
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

// Of returns the process with that ID. The error means that it has ended, or cannot be seen.
func Of(pid int) (Process, error) {
	started, err := pidfd.StartTime(pid)
	return Process{pid, started}, err
}

// Runs returns whether the process has not ended. Another one may have its ID.
func (p Process) Runs() bool {
	now, err := Of(p.PID)
	return err == nil && now == p
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
	if err != nil || p.Started == "" {
		return false
	}
	var noted struct { // see changes.Changes
		Receiver int    `json:"receiver"`
		Started  string `json:"started"`
	}
	err = json.Unmarshal(data, &noted)
	return err == nil && noted.Receiver == p.PID && noted.Started == p.Started
}
