package output

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many bytes are gathered for one write(2) at most.
	batchSize = 64 << 10
	// maxPending is how many bytes are kept while they cannot be written.
	maxPending = 1 << 20
	// firstRetry and lastRetry are the first and the longest time between two
	// attempts to write.
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// handle is an open file of which the end can be taken back.
type handle interface {
	Write(p []byte) (int, error)
	Sync() error
	// Retract takes back the last n bytes written, if they are still the
	// file's end, and reports whether it has.
	Retract(n int) bool
	Close() error
}

// File is an output to a regular file. A failing write loses nothing while
// 1 MiB suffices to keep the messages, and never leaves half a line at the
// end.
type File struct {
	path   string
	notice Notice
	open   func(path string) (handle, error)

	file     handle // nil while it cannot be opened
	sync     bool   // something of this batch must be synced
	unsynced bool   // syncing failed and this was said
	buf      []byte // whole lines, of which the first
	torn     int    // so many bytes are written already
	ours     bool   // the first line of buf is our own notice
	stuck    error  // why the last attempt failed; nil if it did not
	retry    time.Time
	delay    time.Duration

	counts   Counts
	unsaid   uint64 // lost messages that the file does not tell of yet
	unsaidBy string // why they were lost
}

// OpenFile returns the output to the file path, which is created (mode 0640)
// together with its directories (mode 0755) if it does not exist. A full disk
// is no error: opening is tried again later.
func OpenFile(path string, notice Notice) (*File, error) {
	return openFile(path, notice, openHandle)
}

func openFile(path string, notice Notice, open func(string) (handle, error)) (*File, error) {
	f := &File{path: path, notice: notice, open: open}
	if err := f.reopen(); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return nil, err
	}
	return f, nil
}

func (f *File) reopen() error {
	h, err := f.open(f.path)
	if err != nil {
		f.fail(time.Now(), err)
		return err
	}
	f.file = h
	return nil
}

// Name returns the file's path.
func (f *File) Name() string { return f.path }

// Counts says what became of the messages so far.
func (f *File) Counts() Counts {
	c := f.counts
	c.Pending = f.pending()
	return c
}

func (f *File) pending() uint64 {
	n := bytes.Count(f.buf, newline)
	if f.ours {
		n--
	}
	return uint64(n)
}

var newline = []byte{'\n'}

// Add takes a message. It is lost when 1 MiB is pending already.
func (f *File) Add(m Message) {
	if f.stuck == nil && len(f.buf) > 0 && len(f.buf)+len(m.Line) > batchSize {
		f.write(time.Now())
	}
	if f.stuck != nil && len(f.buf) > 0 && len(f.buf)+len(m.Line) > maxPending {
		f.unsaid++
		f.unsaidBy = reason(f.stuck)
		f.counts.lose(f.unsaidBy, 1)
		return
	}
	f.buf = append(f.buf, m.Line...)
	f.sync = f.sync || m.Sync
}

// Flush writes what is pending with one write(2), unless that failed a moment
// ago.
func (f *File) Flush(now time.Time) {
	if f.stuck == nil || !now.Before(f.retry) {
		f.write(now)
	}
	if len(f.buf) == 0 && cap(f.buf) > 2*batchSize {
		f.buf = nil // do not hold for good what one big message needed
	}
}

// Next is the time of the next attempt while writing fails.
func (f *File) Next() time.Time {
	if f.stuck == nil {
		return time.Time{}
	}
	return f.retry
}

// write writes the buffer and, when that succeeds after a loss, says so.
func (f *File) write(now time.Time) {
	if f.file == nil && f.reopen() != nil {
		return
	}
	if !f.writeBuf(now) {
		return
	}
	if f.unsaid > 0 {
		text := strconv.FormatUint(f.unsaid, 10) + " messages lost (" + f.unsaidBy + ")"
		f.unsaid = 0
		if f.say(now, text); f.torn < len(f.buf) {
			return
		}
	}
	f.stuck, f.delay = nil, 0
	if f.sync {
		f.sync = false
		if err := f.file.Sync(); err != nil && !f.unsynced {
			f.unsynced = true
			f.say(now, "sync "+f.path+": "+reason(err)+": a crash of the machine may lose messages")
		}
	}
}

// say writes a notice by the receiver; the buffer is empty.
func (f *File) say(now time.Time, text string) {
	f.buf, f.ours = f.notice(f.buf, text), true
	f.writeBuf(now)
}

// writeBuf writes the buffer and reports whether it is empty.
func (f *File) writeBuf(now time.Time) bool {
	for f.torn < len(f.buf) {
		n, err := f.file.Write(f.buf[f.torn:])
		f.advance(f.torn + max(n, 0))
		if err == nil && n > 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			err = unix.ENOSPC
		}
		f.fail(now, err)
		return false
	}
	return true
}

// advance takes the whole lines of the first n bytes, which are written, out
// of the buffer.
func (f *File) advance(n int) {
	whole := bytes.LastIndexByte(f.buf[:n], '\n') + 1
	lines := uint64(bytes.Count(f.buf[:whole], newline))
	if lines > 0 && f.ours {
		f.ours = false
		lines--
	}
	f.counts.Written += lines
	f.torn = n - whole
	f.buf = f.buf[:copy(f.buf, f.buf[whole:])]
}

func (f *File) fail(now time.Time, err error) {
	f.stuck = err
	f.delay = min(max(2*f.delay, firstRetry), lastRetry)
	f.retry = now.Add(f.delay)
}

// Reopen opens the path anew. What is pending goes to the old file if that is
// possible, else to the new one.
func (f *File) Reopen(now time.Time) {
	if f.file != nil {
		f.write(now)
	}
	h, err := f.open(f.path)
	if err != nil {
		switch { // better the old file than none
		case f.file == nil:
			f.fail(now, err)
		case f.stuck == nil:
			f.say(now, err.Error()+": writing to the old one")
		}
		return
	}
	f.closeFile()
	f.file = h
	f.write(now)
}

// closeFile closes the file with its last line whole.
func (f *File) closeFile() {
	if f.file == nil {
		return
	}
	if f.torn > 0 && f.file.Retract(f.torn) {
		f.torn = 0
	}
	_ = f.file.Close() // every write was checked
	f.file = nil
}

// Close closes the file. What is still pending is lost.
func (f *File) Close() {
	f.closeFile()
	if f.stuck != nil {
		f.counts.lose(reason(f.stuck), f.pending())
	}
	f.buf, f.torn, f.ours = nil, 0, false
}

// reason is why messages are lost, in few words.
func reason(err error) string {
	var errno unix.Errno
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "disk full"
	case errors.Is(err, unix.EDQUOT):
		return "disk quota exceeded"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// fdHandle is a file descriptor.
type fdHandle int

// openHandle opens a regular file for appending. O_NONBLOCK: a FIFO without a
// reader must not hold up the start.
func openHandle(path string) (handle, error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	fd, err := openRetry(path, flags, 0o640)
	if errors.Is(err, unix.ENOENT) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("make the directory of the log file %s: %w", path, err)
		}
		fd, err = openRetry(path, flags, 0o640)
	}
	if errors.Is(err, unix.ENXIO) {
		return nil, notRegular(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the log file %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("look at the log file %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return nil, notRegular(path)
	}
	return fdHandle(fd), nil
}

func notRegular(path string) error {
	return fmt.Errorf("open the log file %s: it is not a regular file: name another file in the rule", path)
}

func openRetry(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func (h fdHandle) Write(p []byte) (int, error) { return unix.Write(int(h), p) }
func (h fdHandle) Sync() error                 { return unix.Fdatasync(int(h)) }
func (h fdHandle) Close() error                { return unix.Close(int(h)) }

// Retract cuts the file if its end is where the last write ended: with
// O_APPEND that is the file's offset.
func (h fdHandle) Retract(n int) bool {
	end, err := unix.Seek(int(h), 0, unix.SEEK_CUR)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h), &st); err != nil || st.Size != end {
		return false
	}
	return unix.Ftruncate(int(h), end-int64(n)) == nil
}

var _ Output = (*File)(nil)
