// Package logfile owns the log file: how it is written, rotated and compressed, and what
// happens while it cannot be written.
package logfile

import (
	"errors"
	"io"
	"path/filepath"
	"time"

	"devlog/internal/output"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

const (
	// maxPending is how many bytes wait while a file cannot be written.
	maxPending = 1 << 20
	// lastRetry is the longest time between two attempts to write to a file.
	lastRetry = 500 * time.Millisecond
	// lookTime is how often to check that an open file still has its name.
	lookTime = time.Second
)

// handle is an open file whose end can be removed again.
type handle interface {
	io.Writer
	Sync() error
	// Size returns the file's size in bytes, and whether the file still has a name.
	Size() (size int64, named bool)
	// Is returns whether this file is the one at the place.
	Is(p safepath.Place) bool
	// Ended returns whether the file ends with a whole line.
	Ended() bool
	// Retract removes the last n bytes written, if they are still at the file's end, and
	// returns whether it did.
	Retract(n int) bool
	// Empty truncates the file to 0 bytes.
	Empty() error
	// Lock locks the file. It returns false if another process has locked it.
	Lock() bool
	Unlock()
	// Like sets the mode and owner of another file.
	Like(other handle)
	Close() error
}

// Options are the options of a log file.
type Options struct {
	Notice   output.Notice
	Rotation Rotation
	// Below is a directory in which others create files too. Below it no links are followed,
	// and only regular files are opened.
	Below string
	// Later creates a file that does not exist with the first message, not at the start.
	Later bool
}

// File is an output to a regular file. A write that fails loses nothing while 1 MiB is enough
// for the messages that wait. A partial line is completed by the next write that succeeds, or
// removed when the file is closed. If the file was renamed or removed, File opens the path again.
type File struct {
	safepath.Place
	open func(p safepath.Place) (handle, error)

	lines    output.Buffer
	file     handle // nil if it cannot be opened, or is created later
	later    bool   // the first message creates the file
	failed   error  // why that failed, to report
	ended    bool   // the file ends with a whole line
	sync     bool   // something in this batch must be synced
	unsynced bool   // syncing failed, and a notice says so
	looked   time.Time
	problem  string    // to report
	said     string    // the last problem, until it is solved
	rotation *rotation // nil without rotation
}

// newFile returns a File for the path. start opens it.
func newFile(path string, o Options, open func(safepath.Place) (handle, error)) *File {
	f := &File{Place: safepath.New(path, o.Below), open: open, later: o.Later, lines: output.NewBuffer(output.BufferOptions{Notice: o.Notice, Limit: maxPending, Slowest: lastRetry})}
	if o.Rotation.Size > 0 {
		f.rotation = newRotation(f.Place, o.Rotation)
	}
	return f
}

// start opens the file. It creates the file (mode 0640) and its directories (mode 0755) if they
// do not exist. If the first message creates the file, start only checks that it can. If the
// file cannot be opened, the error says why, and the File tries again later. A full disk is not
// an error.
func (f *File) start() error {
	if f.later = f.later && f.awaits(); !f.later {
		if err := f.reopen(time.Now()); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			return err
		}
	}
	if f.rotation != nil {
		f.rotation.compress()
	}
	return nil
}

// awaits returns whether the file can be created later. A confined receiver cannot create files
// in / and /dev.
func (f *File) awaits() bool {
	return filepath.Dir(f.Path) != "/" && !inDev(f.Path) && f.Creatable()
}

func (f *File) reopen(now time.Time) error {
	h, err := f.open(f.Place)
	if err != nil {
		f.lines.Fail(now, err)
		return err
	}
	f.file, f.looked, f.ended, f.said = h, now, false, ""
	return nil
}

// Name returns the file's path.
func (f *File) Name() string { return f.Path }

// Counts returns what happened to the messages.
func (f *File) Counts() output.Counts { return f.lines.Counts() }

// Add adds a message. It is lost if 1 MiB is pending already.
func (f *File) Add(m output.Message) {
	if f.full(m) {
		f.write(time.Now())
	}
	f.lines.Add(m.Line)
	f.sync = f.sync || m.Sync
}

// full returns whether Add must write before it adds the message.
func (f *File) full(m output.Message) bool {
	n := f.lines.Size()
	return !f.lines.Stuck() && n > 0 && n+len(m.Line) > output.BatchSize
}

// rests returns whether Flush has nothing to do.
func (f *File) rests(now time.Time) bool {
	return (f.rotation == nil || !f.rotation.busy()) && !f.unwritten(now)
}

// unwritten returns whether something is to be written now.
func (f *File) unwritten(now time.Time) bool {
	return f.lines.Due(now) && (f.lines.Size() > 0 || f.lines.Stuck() || f.problem != "")
}

// Flush writes what is pending with one write(2), unless a write failed a moment ago.
func (f *File) Flush(now time.Time) {
	if f.rotation != nil {
		if err := f.rotation.step(now); err != nil {
			f.complain(err.Error())
		}
	}
	if f.unwritten(now) {
		f.write(now)
	}
	f.lines.Trim()
}

// Next returns when to retry a write, or to check whether an old file is compressed.
func (f *File) Next() time.Time {
	next := f.lines.Next()
	if f.rotation != nil && f.rotation.busy() && (next.IsZero() || f.rotation.look.Before(next)) {
		return f.rotation.look
	}
	return next
}

// write writes what waits. If that succeeds after a loss, it adds a notice.
func (f *File) write(now time.Time) {
	if f.file == nil {
		err := f.reopen(now)
		if f.later {
			f.later, f.failed = false, err
		}
		if err != nil {
			return
		}
	}
	f.follow(now)
	if f.file == nil {
		return
	}
	for {
		if !f.writeLines(now) {
			return
		}
		if !f.tell() {
			break
		}
	}
	f.lines.Succeed()
	if f.sync {
		f.sync = false
		if err := f.file.Sync(); err != nil && !f.unsynced {
			f.unsynced = true
			f.lines.Say("cannot sync " + f.Path + ": " + output.Reason(err) + "; a crash of the machine may lose messages")
			f.writeLines(now)
		}
	}
}

// tell adds the next notice for the file, if there is one.
func (f *File) tell() bool {
	if f.lines.TellLost() {
		return true
	}
	if f.problem == "" {
		return false
	}
	f.lines.Say(f.problem)
	f.problem = ""
	return true
}

// complain reports the problem with the next write, once.
func (f *File) complain(text string) {
	if text != f.said {
		f.said, f.problem = text, text
	}
}

// writeLines writes what waits, and returns whether that was everything.
func (f *File) writeLines(now time.Time) bool {
	for f.lines.Size() > 0 {
		room := f.room(now)
		err := f.endLine()
		if err == nil {
			err = f.lines.Write(f.file, room)
		}
		if err != nil {
			f.lines.Fail(now, err)
			return false
		}
	}
	return true
}

// endLine ends a partial last line that a killed process left: the next line would otherwise
// become part of it. It does nothing if this output has the rest of that line. It is called
// for the first write, so that opening a file as a test leaves no trace.
func (f *File) endLine() error {
	if f.ended {
		return nil
	}
	if f.lines.Torn() == 0 && !f.file.Ended() {
		if _, err := f.file.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	f.ended = true
	return nil
}

// follow opens the path again if the file was renamed or removed, but not while a line is
// partial: the rest belongs to it.
func (f *File) follow(now time.Time) {
	if f.lines.Torn() > 0 {
		return
	}
	_, named := f.file.Size()
	if named && now.Sub(f.looked) < lookTime {
		return
	}
	f.looked = now
	if named && f.file.Is(f.Place) {
		return
	}
	if err := f.replace(now); err != nil && named {
		f.complain(err.Error() + writingOn)
	} else if err != nil { // nobody would read what went to the old one
		f.closeFile()
		f.lines.Fail(now, err)
	}
}

// writingOn says what happens if a path cannot be opened again.
const writingOn = "; writing to the old one"

// replace opens the path again. If that fails, the old file stays open, and it returns the
// error.
func (f *File) replace(now time.Time) error {
	h, err := f.open(f.Place)
	if err != nil {
		return err
	}
	f.closeFile()
	f.file, f.looked, f.ended, f.said = h, now, false, ""
	return nil
}

// Reopen opens the path again. What is pending goes to the old file if possible, otherwise to
// the new one.
func (f *File) Reopen(now time.Time) {
	if f.later {
		return
	}
	if f.file != nil {
		f.write(now)
	}
	if err := f.replace(now); err != nil {
		if f.file == nil {
			f.lines.Fail(now, err)
			return
		}
		f.complain(err.Error() + writingOn)
		f.Flush(now)
		return
	}
	f.write(now)
}

// closeFile closes the file. It first removes a partial line, which is written again as a whole.
func (f *File) closeFile() {
	if f.file == nil {
		return
	}
	if f.lines.Torn() > 0 {
		_ = f.file.Retract(f.lines.Torn()) // fails if another process has appended to it
		f.lines.Mend()
	}
	if f.sync {
		_ = f.file.Sync() // syncs what was written to it; the rest is synced in the next file
	}
	_ = f.file.Close() // every write was checked
	f.file = nil
}

// Close closes the file. What is still pending is lost.
func (f *File) Close() {
	f.closeFile()
	f.lines.GiveUp()
	if f.rotation != nil {
		f.rotation.abandon()
	}
}

// State removes a partial line, if it is still at the file's end.
func (f *File) State(time.Time) output.State {
	if f.lines.Torn() > 0 && f.file != nil && f.file.Retract(f.lines.Torn()) {
		f.lines.Mend()
	}
	s := f.lines.State()
	s.Sync = f.sync
	return s
}

// Resume continues for another output. This one was just opened.
func (f *File) Resume(s output.State, _ time.Time) {
	if s.FD >= 0 {
		_ = unix.Close(s.FD)
	}
	f.lines.Resume(s)
	f.sync = f.sync || s.Sync
}

// Buffered returns the size of what is pending, in bytes.
func (f *File) Buffered() int { return f.lines.Size() }

var _ output.Lasting = (*File)(nil)

var _ output.Output = (*File)(nil)
