// Package logfile owns the log file: its rotation, its compression, and what is done while it
// cannot be written.
package logfile

import (
	"errors"
	"time"

	"devlog/internal/output"
	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

const (
	// maxPending is how many bytes are kept while a file cannot be written.
	maxPending = 1 << 20
	// lastRetry is the longest time between two attempts to write to a file.
	lastRetry = 500 * time.Millisecond
	// lookTime is how often a file that is written to is looked for under its
	// name.
	lookTime = time.Second
)

// handle is an open file of which the end can be taken back.
type handle interface {
	output.Writer
	Sync() error
	// Size is the file's size in bytes, and whether it still has a name.
	Size() (size int64, named bool)
	// Is says that this file is what is there.
	Is(p safepath.Place) bool
	// Ended says that the file does not end in half a line.
	Ended() bool
	// Retract takes back the last n bytes written, if they are still the
	// file's end, and reports whether it has.
	Retract(n int) bool
	// Empty makes the file empty.
	Empty() error
	// Lock reports false when another process has the file locked.
	Lock() bool
	Unlock()
	// Like gives the file the mode and the owner of another.
	Like(other handle)
	Close() error
}

// Options are how a file is written to.
type Options struct {
	Notice   output.Notice
	Rotation Rotation
	// Below is a directory in which others make files too: of a file below it no
	// link is followed from there on, and nothing but a regular file is opened.
	Below string
}

// File is an output to a regular file. A failing write loses nothing while
// 1 MiB suffices to keep the messages, and never leaves half a line at the
// end. The file is opened anew when it was renamed or removed.
type File struct {
	safepath.Place
	open func(p safepath.Place) (handle, error)

	lines    output.Buffer
	file     handle // nil while it cannot be opened
	ended    bool   // the file's last line is known to be whole
	sync     bool   // something of this batch must be synced
	unsynced bool   // syncing failed and this was said
	looked   time.Time
	problem  string    // is to be said
	said     string    // the last problem, until it is over
	rotation *rotation // nil if the file just grows
}

// Open is OpenGuarded for a file system that cannot hang.
func Open(path string, o Options) (*File, error) {
	f := newFile(path, o, openHandle)
	return f, f.start()
}

// newFile returns a File for the path. start opens it.
func newFile(path string, o Options, open func(safepath.Place) (handle, error)) *File {
	f := &File{Place: safepath.New(path, o.Below), open: open, lines: output.NewBuffer(output.BufferOptions{Notice: o.Notice, Limit: maxPending, Slowest: lastRetry})}
	if o.Rotation.Size > 0 {
		f.rotation = newRotation(f.Place, o.Rotation)
	}
	return f
}

// start opens the file. It creates the file (mode 0640) and its directories (mode 0755) if they
// do not exist. If the file cannot be opened, the error says why, and the File tries again
// later. A full disk is not an error.
func (f *File) start() error {
	if err := f.reopen(time.Now()); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	if f.rotation != nil {
		f.rotation.compress()
	}
	return nil
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

// Counts says what became of the messages so far.
func (f *File) Counts() output.Counts { return f.lines.Counts() }

// Add takes a message. It is lost when 1 MiB is pending already.
func (f *File) Add(m output.Message) {
	if f.full(m) {
		f.write(time.Now())
	}
	f.lines.Add(m.Line)
	f.sync = f.sync || m.Sync
}

// full says that Add writes what is pending before it takes the message.
func (f *File) full(m output.Message) bool {
	n := f.lines.Size()
	return !f.lines.Stuck() && n > 0 && n+len(m.Line) > output.BatchSize
}

// rests says that Flush has nothing to do.
func (f *File) rests(now time.Time) bool {
	return (f.rotation == nil || !f.rotation.busy()) && !f.unwritten(now)
}

// unwritten says that something is to be written now.
func (f *File) unwritten(now time.Time) bool {
	return f.lines.Due(now) && (f.lines.Size() > 0 || f.lines.Stuck() || f.problem != "")
}

// Flush writes what is pending with one write(2), unless that failed a moment
// ago.
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

// Next is the time of the next attempt while writing fails, or to see whether
// an old file is compressed.
func (f *File) Next() time.Time {
	next := f.lines.Next()
	if f.rotation != nil && f.rotation.busy() && (next.IsZero() || f.rotation.look.Before(next)) {
		return f.rotation.look
	}
	return next
}

// write writes what waits and, when that succeeds after a loss, says so.
func (f *File) write(now time.Time) {
	if f.file == nil && f.reopen(now) != nil {
		return
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
			f.lines.Say("sync " + f.Path + ": " + output.Reason(err) + ": a crash of the machine may lose messages")
			f.writeLines(now)
		}
	}
}

// tell adds the next notice that the file is to have, if there is one.
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

// complain has the next write say what is wrong, once.
func (f *File) complain(text string) {
	if text != f.said {
		f.said, f.problem = text, text
	}
}

// writeLines writes what waits and reports whether that is all.
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

// endLine ends the line that a file may end in the middle of when it is opened: a
// process that was killed has left it, and what follows would become part of it.
// One of which we have the rest is none. It waits for the first write, for who
// only opens the file, to see whether that can be done, leaves no trace.
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

// follow opens the file anew if it is no longer the one of that name: it was
// renamed or removed. A line that is half written is completed first.
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
	} else if err != nil { // nobody would ever read what went to the old one
		f.closeFile()
		f.lines.Fail(now, err)
	}
}

// writingOn is what a file does that could not be opened anew.
const writingOn = ": writing to the old one"

// replace opens the path anew. If that fails the old file is better than none,
// and the error is returned.
func (f *File) replace(now time.Time) error {
	h, err := f.open(f.Place)
	if err != nil {
		return err
	}
	f.closeFile()
	f.file, f.looked, f.ended, f.said = h, now, false, ""
	return nil
}

// Reopen opens the path again. What is pending goes to the old file if that is
// possible, else to the new one.
func (f *File) Reopen(now time.Time) {
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

// closeFile closes the file with its last line whole.
func (f *File) closeFile() {
	if f.file == nil {
		return
	}
	if f.lines.Torn() > 0 {
		_ = f.file.Retract(f.lines.Torn()) // not if another has written behind it
		f.lines.Mend()
	}
	if f.sync {
		_ = f.file.Sync() // what was written to it; the rest is synced in the next file
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

// State takes half a line back if the file's end is still ours.
func (f *File) State(time.Time) output.State {
	if f.lines.Torn() > 0 && f.file != nil && f.file.Retract(f.lines.Torn()) {
		f.lines.Mend()
	}
	s := f.lines.State()
	s.Sync = f.sync
	return s
}

// Resume goes on where another output was; this one was just opened.
func (f *File) Resume(s output.State, _ time.Time) {
	if s.FD >= 0 {
		_ = unix.Close(s.FD)
	}
	f.lines.Resume(s)
	f.sync = f.sync || s.Sync
}

// Buffered is the size of what is pending, in bytes.
func (f *File) Buffered() int { return f.lines.Size() }

var _ output.Lasting = (*File)(nil)

var _ output.Output = (*File)(nil)
