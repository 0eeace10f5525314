// Package process owns what all receivers of a process share: the event loop, the memory that
// messages are read into, the watchdog.
package process

import (
	"devlog/internal/batch"
	"devlog/internal/eventloop"
	"devlog/internal/logfile"
	"devlog/internal/output"
	"devlog/internal/sink"
	"devlog/internal/syslogconf"
	"devlog/internal/watchdog"
	"devlog/internal/watches"
)

// Process is what all receivers of a process share.
type Process struct {
	Version string // of the program
	Loop    *eventloop.Loop
	// Memory is what messages are read into, and Watchdog watches the Loop.
	Memory   *batch.Memory
	Watchdog *watchdog.Watchdog
	// Watches is the inotify(7) instance. It is open while somebody watches files.
	Watches *watches.Instance
	// Confined returns whether the process can open only some files now; nil if it never is.
	Confined func() bool
	// Stderr is the descriptor of standard error. KernelLog opens the kernel's log, with a
	// name before each record, for messages that no output can report.
	Stderr    int
	KernelLog func(name string) (output.Output, error)
}

// New returns what receivers of this process share: a loop, which the caller runs. While a
// write hangs, the watchdog calls run in another goroutine, and wake to wake the loop.
func New(version string, memory *batch.Memory, run, wake func()) (*Process, error) {
	loop, err := eventloop.New()
	if err != nil {
		return nil, err
	}
	p := &Process{Version: version, Loop: loop, Memory: memory, Watchdog: watchdog.New(run, wake), Watches: watches.NewInstance(loop.Add), Stderr: 2}
	p.KernelLog = func(name string) (output.Output, error) { return sink.OpenKernel(syslogconf.KernelLog, name, -1) }
	loop.SetYield(p.Watchdog.Yield)
	loop.SetIdle(memory.Rest)
	loop.SetShares(logfile.Compressing)
	return p, nil
}
