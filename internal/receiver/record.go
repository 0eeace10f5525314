package receiver

import (
	"os"

	"devlog/internal/pidfd"
	"devlog/internal/record"
)

// processID distinguishes this process from a later one with the same ID.
type processID struct {
	pid     int
	started string // pidfd.StartTime; empty if it could not be read
}

// self returns this process. Call it early: /proc may be gone at the end.
func self() processID {
	started, _ := pidfd.OwnStartTime()
	return processID{os.Getpid(), started}
}

// notedIn returns whether the record in the directory names the process. A repair that
// replaces a receiver records the new one before it ends the old one.
func (p processID) notedIn(dir int) bool { return record.NamesReceiver(dir, p.pid, p.started) }
