package output

import (
	"bytes"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// State is what an output hands over to the one that takes its place when the
// program is replaced.
type State struct {
	Written uint64
	Lost    []Loss
	// Pending are whole lines; of the first, Torn bytes are in the file already.
	Pending []byte
	Torn    int
	Ours    bool // the first line is the receiver's own notice
	Sync    bool // they must be synced
	// Unsaid are lost messages that the place does not tell of yet, and UnsaidBy
	// is why they were lost.
	Unsaid   uint64
	UnsaidBy string
	// FD is the open place, where opening it anew makes a difference; else -1.
	FD int
	// Used is how much of the budget was used in the interval that began Age ago.
	Used int
	Age  time.Duration
}

// Lasting is an output that can be continued by another program.
type Lasting interface {
	// State returns what has to be handed over. The output can be used further.
	State(now time.Time) State
	// Resume goes on where another output was; this one was just opened.
	Resume(s State, now time.Time)
	// Buffered is the size of what is pending, in bytes.
	Buffered() int
}

// State takes half a line back if the file's end is still ours.
func (f *File) State(time.Time) State {
	if f.torn > 0 && f.file != nil && f.file.Retract(f.torn) {
		f.torn = 0
	}
	return State{
		Written: f.counts.Written, Lost: slices.Clone(f.counts.Lost),
		Pending: bytes.Clone(f.buf), Torn: f.torn, Ours: f.ours, Sync: f.sync,
		Unsaid: f.unsaid, UnsaidBy: f.unsaidBy, FD: -1,
	}
}

// Resume puts what was pending in front of what is.
func (f *File) Resume(s State, _ time.Time) {
	if s.FD >= 0 {
		_ = unix.Close(s.FD)
	}
	f.counts.Written += s.Written
	for _, l := range s.Lost {
		f.counts.lose(l.Reason, l.N)
	}
	if len(s.Pending) > 0 {
		f.buf = append(s.Pending, f.buf...)
		f.torn, f.ours, f.sync = min(s.Torn, len(s.Pending)-1), s.Ours, f.sync || s.Sync
	}
	f.unsaid, f.unsaidBy = f.unsaid+s.Unsaid, s.UnsaidBy
}

// Buffered is the size of what is pending, in bytes.
func (f *File) Buffered() int { return len(f.buf) }

// State hands the open log over: the kernel's limit is that of the open file.
func (k *Kernel) State(time.Time) State {
	s := State{Written: k.counts.Written, Lost: slices.Clone(k.counts.Lost), Unsaid: k.unsaid, FD: -1, Used: k.used}
	if fd, ok := k.log.(fdHandle); ok {
		s.FD = int(fd)
	}
	if k.used > 0 {
		s.Age = k.now().Sub(k.begin)
	}
	return s
}

// Resume goes on with the open log, unless none can be opened any more.
func (k *Kernel) Resume(s State, _ time.Time) {
	k.counts.Written += s.Written
	for _, l := range s.Lost {
		k.counts.lose(l.Reason, l.N)
	}
	k.unsaid += s.Unsaid
	if k.log == nil || s.FD < 0 {
		if s.FD >= 0 {
			_ = unix.Close(s.FD)
		}
		return
	}
	_ = k.log.Close() // nothing was written to it
	k.log, k.used = fdHandle(s.FD), s.Used
	if s.Used > 0 {
		k.begin = k.now().Add(-s.Age)
	}
}

// Buffered is 0: a record is written at once.
func (k *Kernel) Buffered() int { return 0 }

var (
	_ Lasting = (*File)(nil)
	_ Lasting = (*Kernel)(nil)
)
