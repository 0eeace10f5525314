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

// state is what is handed over of the lines.
func (l *lines) state() State {
	return State{
		Written: l.counts.Written, Lost: slices.Clone(l.counts.Lost),
		Pending: bytes.Clone(l.buf[l.head:]), Torn: l.torn, Ours: l.ours,
		Unsaid: l.unsaid, UnsaidBy: l.unsaidBy, FD: -1,
	}
}

// resume puts what was pending in front of what is.
func (l *lines) resume(s State) {
	l.counts.Written += s.Written
	l.added += s.Written
	for _, lost := range s.Lost {
		l.counts.lose(lost.Reason, lost.N)
		l.added += lost.N
	}
	if len(s.Pending) > 0 {
		l.added += uint64(bytes.Count(s.Pending, newline))
		if s.Ours {
			l.added--
		}
		l.buf, l.head = append(s.Pending, l.buf[l.head:]...), 0
		l.torn, l.ours = min(s.Torn, len(s.Pending)-1), s.Ours
	}
	l.unsaid, l.unsaidBy = l.unsaid+s.Unsaid, s.UnsaidBy
}

// State takes half a line back if the file's end is still ours.
func (f *File) State(time.Time) State {
	if f.lines.torn > 0 && f.file != nil && f.file.Retract(f.lines.torn) {
		f.lines.torn = 0
	}
	s := f.lines.state()
	s.Sync = f.sync
	return s
}

// Resume goes on where another output was; this one was just opened.
func (f *File) Resume(s State, _ time.Time) {
	if s.FD >= 0 {
		_ = unix.Close(s.FD)
	}
	f.lines.resume(s)
	f.sync = f.sync || s.Sync
}

// Buffered is the size of what is pending, in bytes.
func (f *File) Buffered() int { return f.lines.size() }

// State hands an open FIFO over: what nobody has read yet goes with the last
// that has it open. Anything else is the same when it is opened anew, so that a
// line that was written in part goes on there too. Of a container's standard
// output it is the handle: it may not be found again.
func (s *Stream) State(time.Time) State {
	state := s.lines.state()
	if s.Kind == FIFO && s.file != nil {
		state.FD = s.file.FD()
	}
	if s.container != nil {
		state.FD = s.container.pin
	}
	return state
}

// Resume goes on where another output was; this one was just opened.
func (s *Stream) Resume(state State, now time.Time) {
	s.lines.resume(state)
	if state.FD < 0 {
		return
	}
	if s.container != nil {
		s.container.pin, s.early = state.FD, nil
		return
	}
	if s.Kind != FIFO || s.file != nil || !fdHandle(state.FD).Is(s.place()) {
		_ = unix.Close(state.FD)
		s.lines.torn = 0
		return
	}
	f := wrap(state.FD, false)
	f.fifo = true
	s.file, s.looked, s.early = f, now, nil
}

// Buffered is the size of what is pending, in bytes.
func (s *Stream) Buffered() int { return s.lines.size() }

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
	_ Lasting = (*Stream)(nil)
	_ Lasting = (*Kernel)(nil)
)
