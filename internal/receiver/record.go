package receiver

import (
	"os"

	"devlog/internal/pidfd"
	"devlog/internal/record"
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
func (p process) notedIn(dir int) bool { return record.NamesReceiver(dir, p.pid, p.started) }
