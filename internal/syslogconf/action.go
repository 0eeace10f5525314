package syslogconf

import "devlog/internal/syslog"

// Kind is what sort of place an action leads to.
type Kind uint8

// The kinds of places.
const (
	File            Kind = iota // a regular file, Path
	Kernel                      // the kernel's log, Path is KernelLog
	FIFO                        // a named pipe, Path
	Terminal                    // a console or another terminal, Path
	Stdout                      // the receiver's own standard output
	ContainerStdout             // the standard output of the container's first process
)

// Rotation says when a file is begun anew and how many old ones are kept.
type Rotation struct {
	Size  int64 // bytes; 0 is never
	Count int   // old files kept beside the one that is written to
	Gzip  bool  // old files are compressed
}

// Action says where messages go, and how they are written there.
type Action struct {
	Kind Kind
	// Path is the place; empty for Stdout and ContainerStdout.
	Path string
	// Sync says that what was written must be on the disk before more is read.
	Sync     bool
	Format   syslog.Layout
	Rotation Rotation
}
