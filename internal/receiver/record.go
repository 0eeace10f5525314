package receiver

import (
	"os"

	"devlog/internal/pidfd"
	"devlog/internal/record"
)

// processID tells this process from a later one that got the same ID.
type processID struct {
	pid     int
	started string // pidfd.StartTime; empty if it could not be read
}

// self is this process. It is to be called early: /proc may be gone at the end.
func self() processID {
	started, _ := pidfd.OwnStartTime()
	return processID{os.Getpid(), started}
}

// notedIn reports whether the record in the directory names the process. A
// repair that replaces a receiver notes the new one before it ends the old.
func (p processID) notedIn(dir int) bool { return record.NamesReceiver(dir, p.pid, p.started) }
