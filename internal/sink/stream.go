// Package sink owns the outputs that are not log files: the kernel's log, pipes, terminals and
// standard outputs.
package sink

import (
	"errors"
	"io"
	"math"
	"time"
	"unsafe"

	"devlog/internal/file"
	"devlog/internal/output"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

const (
	// maxWaiting is how many bytes wait for a slow reader.
	maxWaiting = 256 << 10
	// lastOpen is the longest time between two attempts to open a stream.
	lastOpen = time.Minute
	// lookTime is how often to check that an open stream still has its name.
	lookTime = time.Second
)

// Kind is the kind of a stream.
type Kind uint8

// The kinds of streams.
const (
	FIFO            Kind = iota // a named pipe
	Terminal                    // a terminal; lines end in CR LF
	Stdout                      // this process's standard output
	ContainerStdout             // the standard output of a container's first process
)

// The names of streams that have no path.
const (
	NameStdout          = "stdout"
	NameContainerStdout = "container-stdout"
)

// StreamOptions are the options of a Stream.
type StreamOptions struct {
	Kind   Kind
	Path   string // of a named pipe or a terminal
	Below  string // as in logfile.Options
	Notice output.Notice
	// Wake makes the loop call Flush when the descriptor is writable again or closed. It is
	// called once for each descriptor.
	Wake func(fd int)
	// Problem reports, once, why the stream cannot be opened.
	Problem func(err error)
	// Init returns a pidfd of the container's first process, or -1 if this process is in the
	// container and the first process has ID 1.
	Init func() int
}

// busy are the errors when a stream accepts nothing now.
var busy = [...]error{
	FIFO:            output.Cause("pipe full"),
	Terminal:        output.Cause("terminal blocked"),
	Stdout:          output.Cause("standard output blocked"),
	ContainerStdout: output.Cause("container's standard output blocked"),
}

// stream is an open file. Writing to it does not wait.
type stream interface {
	io.Writer
	// FD is the descriptor to wait for.
	FD() int
	// Most is the most bytes that a reader gets in one piece.
	Most() int
	// Is returns whether this file is the one at the place.
	Is(p safepath.Place) bool
	// Close closes the file. It returns how many lines in it nobody can read any more.
	Close() (unread uint64)
}

// Stream is an output to a reader: a named pipe, a terminal, a standard output. It never waits
// for the reader: 256 KiB of messages wait, and more are lost.
type Stream struct {
	StreamOptions
	open  func() (stream, error)
	early func(now time.Time) // called at the first Flush
	// container finds the stream of a ContainerStdout.
	container *container

	lines  output.Buffer
	file   stream // nil if it cannot be opened
	awaits bool   // Wake was called for it
	told   bool   // Problem was called
	looked time.Time
}

// OpenStream returns the output to a stream.
func OpenStream(o StreamOptions) *Stream {
	s := newStream(o, nil)
	s.early = func(now time.Time) { s.reopen(now) } // to report a problem at once
	switch o.Kind {
	case FIFO:
		s.open = func() (stream, error) { return openFIFO(s.place()) }
	case Terminal:
		s.open = func() (stream, error) { return openTerminal(safepath.New(o.Path, o.Below)) }
	case Stdout:
		s.open = func() (stream, error) { return openStdout(stdoutFD) }
	case ContainerStdout:
		c := &container{init: o.Init, pin: -1, take: unix.PidfdGetfd}
		s.container = c
		s.open, s.early = c.open, func(time.Time) { c.pinNow() } // it may have changed by the first message
	}
	return s
}

func newStream(o StreamOptions, open func() (stream, error)) *Stream {
	return &Stream{StreamOptions: o, open: open,
		lines: output.NewBuffer(output.BufferOptions{Notice: o.Notice, Limit: maxWaiting, Slowest: lastOpen, CRLF: o.Kind == Terminal})}
}

func (s *Stream) place() safepath.Place { return safepath.New(s.Path, s.Below) }

// Name returns the path, NameStdout or NameContainerStdout.
func (s *Stream) Name() string {
	switch s.Kind {
	case Stdout:
		return NameStdout
	case ContainerStdout:
		return NameContainerStdout
	}
	return s.Path
}

// Counts returns what happened to the messages.
func (s *Stream) Counts() output.Counts { return s.lines.Counts() }

// Add adds a message. It is lost if 256 KiB wait already.
func (s *Stream) Add(m output.Message) {
	if n := s.lines.Size(); !s.lines.Stuck() && s.file != nil && n > 0 && n+len(m.Line) > output.BatchSize {
		s.write(time.Now())
	}
	s.lines.Add(m.Line)
}

// Flush writes what the reader accepts now.
func (s *Stream) Flush(now time.Time) {
	if s.early != nil {
		s.early(now)
		s.early = nil
	}
	if (s.file != nil || s.lines.Due(now)) && (s.lines.Size() > 0 || s.lines.Untold()) {
		s.write(now)
	}
	s.lines.Trim()
}

// Next returns when to try again to open the stream. An open stream waits for its reader,
// without a time.
func (s *Stream) Next() time.Time {
	if s.file != nil {
		return time.Time{}
	}
	return s.lines.Next()
}

// Held returns, after the first Flush, whether the container's standard output can be opened
// again in a sandbox that has neither /proc nor paths.
func (s *Stream) Held() bool { return s.container != nil && s.container.isPipe() }

// Waits returns whether something waits for the reader of an open stream.
func (s *Stream) Waits() bool { return s.file != nil && s.lines.Size() > 0 }

// write writes what waits. If that succeeds after a loss, it adds a notice.
func (s *Stream) write(now time.Time) {
	if s.Path != "" && s.file != nil && s.lines.Torn() == 0 && now.Sub(s.looked) >= lookTime {
		if s.looked = now; !s.file.Is(s.place()) {
			s.close()
		}
	}
	for s.file != nil || s.reopen(now) {
		if s.lines.Size() == 0 && !s.lines.TellLost() {
			s.lines.Succeed()
			return
		}
		err := s.lines.Write(s.file, s.file.Most())
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			s.lines.Block(busy[s.Kind])
			if !s.awaits {
				s.awaits = true
				s.Wake(s.file.FD())
			}
			return
		default: // the reader, the terminal or the container is gone
			s.close()
			s.lines.Fail(now, err)
			return
		}
	}
}

// reopen opens the stream.
func (s *Stream) reopen(now time.Time) bool {
	file, err := s.open()
	if err != nil {
		s.lines.Mend() // the part that was handed over is lost with the old file
		s.lines.Fail(now, err)
		if !s.told {
			s.told = true
			s.Problem(err)
		}
		return false
	}
	s.file, s.looked, s.awaits, s.told = file, now, false, false
	return true
}

// close closes the file. Lines that nobody has read are lost. A partly written line is written
// as a whole to the next file.
func (s *Stream) close() {
	if s.file == nil {
		return
	}
	s.lines.Unread(s.file.Close(), lostUnread)
	s.file = nil
	s.lines.Mend()
}

const lostUnread = "read by nobody"

// Reopen opens the path again if it leads to another file than before, or could not be opened.
func (s *Stream) Reopen(now time.Time) {
	s.looked = time.Time{}
	if s.file == nil {
		s.lines.Retry(now)
	}
	s.Flush(now)
}

// Close closes the stream. What is still pending is lost.
func (s *Stream) Close() {
	s.close()
	if s.container != nil {
		s.container.unpin()
	}
	s.lines.GiveUp()
}

// pieces is the largest write to a pipe that is atomic, in bytes (PIPE_BUF, pipe(7)).
const pieces = 4096

// streamFD is a descriptor of an open file.
type streamFD struct {
	fd    int
	write func(fd int, p []byte) (int, error)
	most  int
	owned bool // this process must close it
	fifo  bool
}

func (f *streamFD) Write(p []byte) (int, error) { return f.write(f.fd, p) }
func (f *streamFD) FD() int                     { return f.fd }
func (f *streamFD) Most() int                   { return f.most }
func (f *streamFD) Is(p safepath.Place) bool    { return p.Is(f.fd) }

func (f *streamFD) Close() (unread uint64) {
	if f.fifo {
		unread = countUnread(f.fd)
	}
	if f.owned {
		file.CloseNow(f.fd) // every write was checked
	}
	return unread
}

// send writes to a socket that others use too, so it does not change the socket's flags.
func send(fd int, p []byte) (int, error) {
	flags := unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	n, _, err := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

// writePolled writes to a file whose open file description others use too. A pipe that poll(2)
// reports as writable accepts one piece without waiting.
func writePolled(fd int, p []byte) (int, error) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(ready, 0); err != nil || n == 0 {
		return 0, errors.Join(err, unix.EAGAIN)
	}
	return unix.Write(fd, p[:min(len(p), pieces)])
}

// wrap returns the stream of a descriptor. shared says that others use its open file
// description too: then it must not be made nonblocking.
func wrap(fd int, shared bool) *streamFD {
	f := &streamFD{fd: fd, write: unix.Write, most: math.MaxInt, owned: true}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return f
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFIFO {
		f.most = pieces
	}
	switch {
	case kind == unix.S_IFSOCK:
		f.write = send
	case shared && kind != unix.S_IFREG:
		f.write, f.most = writePolled, pieces
	}
	return f
}

// State passes on an open named pipe: unread lines would be lost with its last descriptor.
// Other streams are opened again, and a partly written line continues there. For a container's
// standard output it passes on the handle, because it may not be found again.
func (s *Stream) State(time.Time) output.State {
	state := s.lines.State()
	if s.Kind == FIFO && s.file != nil {
		state.FD = s.file.FD()
	}
	if s.container != nil {
		state.FD = s.container.pin
	}
	return state
}

// Resume continues for another output. This one was just opened.
func (s *Stream) Resume(state output.State, now time.Time) {
	s.lines.Resume(state)
	if state.FD < 0 {
		return
	}
	if s.container != nil {
		s.container.pin, s.early = state.FD, nil
		return
	}
	if s.Kind != FIFO || s.file != nil || !s.place().Is(state.FD) {
		_ = unix.Close(state.FD)
		s.lines.Mend()
		return
	}
	f := wrap(state.FD, false)
	f.fifo = true
	s.file, s.looked, s.early = f, now, nil
}

// Buffered returns the size of what is pending, in bytes.
func (s *Stream) Buffered() int { return s.lines.Size() }

var (
	_ output.Output  = (*Stream)(nil)
	_ output.Lasting = (*Stream)(nil)
)
