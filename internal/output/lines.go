package output

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many bytes are gathered for one write(2) at most.
	batchSize = 64 << 10
	// firstRetry is the time between the first two attempts to write; each
	// further one takes twice the time of the last, up to lines.slowest.
	firstRetry = 50 * time.Millisecond
)

// lines are whole lines on their way to one place: what cannot be written yet
// is kept, what exceeds the limit is lost, and the place is told of it later.
type lines struct {
	notice  Notice
	limit   int           // bytes that are kept while they cannot be written
	slowest time.Duration // the longest time between two attempts
	crlf    bool          // lines end in CR LF

	buf    []byte
	head   int   // lines before it are written
	torn   int   // so many bytes of the first line are written
	ours   bool  // the first line is our own notice
	stuck  error // why the last attempt failed; nil if it did not
	retry  time.Time
	delay  time.Duration
	added  uint64 // messages, with those that an output before this one was given
	counts Counts

	unsaid   uint64 // lost messages that the place was not told of yet
	unsaidBy string // why they were lost
	telling  uint64 // so many of them are told of by a notice that waits
}

var newline = []byte{'\n'}

// writer is where lines are written to.
type writer interface {
	Write(p []byte) (int, error)
}

// size is how many bytes wait.
func (l *lines) size() int { return len(l.buf) - l.head }

// add takes a line; while writing fails it is lost beyond the limit.
func (l *lines) add(line []byte) {
	l.added++
	if l.stuck != nil && l.size() > 0 && l.size()+len(line) > l.limit {
		l.unsaid++
		l.unsaidBy = reason(l.stuck)
		l.counts.lose(l.unsaidBy, 1)
		return
	}
	if l.head > 0 && len(l.buf)+len(line)+1 > cap(l.buf) { // better than to grow
		l.buf, l.head = l.buf[:copy(l.buf, l.buf[l.head:])], 0
	}
	l.buf = append(l.buf, line...)
	l.endLine()
}

func (l *lines) endLine() {
	if l.crlf {
		l.buf = append(l.buf[:len(l.buf)-1], "\r\n"...)
	}
}

// say adds a notice by the receiver; nothing else may wait.
func (l *lines) say(text string) {
	l.buf, l.head, l.ours = l.notice(l.buf[:0], text), 0, true
	l.endLine()
}

// tellLost adds the notice of what was lost, if something was; nothing else
// may wait.
func (l *lines) tellLost() bool {
	if l.unsaid == 0 {
		return false
	}
	l.say(strconv.FormatUint(l.unsaid, 10) + " messages lost (" + l.unsaidBy + ")")
	l.unsaid, l.telling = 0, l.unsaid
	return true
}

// first returns what is to be written next: the rest of a torn line, or the
// whole lines that fit into this many bytes, at least one.
func (l *lines) first(most int) []byte {
	rest := l.buf[l.head+l.torn:]
	if l.torn == 0 {
		if len(rest) <= most {
			return rest
		}
		if n := bytes.LastIndexByte(rest[:max(most, 0)], '\n') + 1; n > 0 {
			return rest[:n]
		}
	}
	return rest[:bytes.IndexByte(rest, '\n')+1]
}

// write writes what first returns to w. It is no error when less is written.
func (l *lines) write(w writer, most int) error {
	for {
		n, err := w.Write(l.first(most))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		l.wrote(max(n, 0))
		if err == nil && n <= 0 {
			return unix.ENOSPC
		}
		return err
	}
}

// wrote takes out the whole lines of the first n bytes that were not written
// before.
func (l *lines) wrote(n int) {
	n += l.torn
	done := l.buf[l.head : l.head+n]
	whole := bytes.LastIndexByte(done, '\n') + 1
	count := uint64(bytes.Count(done[:whole], newline))
	if count > 0 && l.ours {
		l.ours, l.telling = false, 0
		count--
	}
	l.counts.Written += count
	l.torn = n - whole
	if l.head += whole; l.head == len(l.buf) {
		l.buf, l.head = l.buf[:0], 0
	}
}

// trim gives back memory that a big message has taken.
func (l *lines) trim() {
	if l.size() == 0 && cap(l.buf) > 2*batchSize {
		l.buf = nil
	}
}

// fail notes why an attempt failed, and when to make the next one.
func (l *lines) fail(now time.Time, err error) {
	l.stuck = err
	l.delay = min(max(2*l.delay, firstRetry), l.slowest)
	l.retry = now.Add(l.delay)
}

// succeed notes that all was written.
func (l *lines) succeed() { l.stuck, l.delay = nil, 0 }

// due says that it is time to write.
func (l *lines) due(now time.Time) bool { return l.stuck == nil || !now.Before(l.retry) }

// next is when to write although nothing is added; zero is never.
func (l *lines) next() time.Time {
	if l.stuck == nil || l.size() == 0 && l.unsaid == 0 {
		return time.Time{}
	}
	return l.retry
}

// account is what became of the lines.
func (l *lines) account() Counts {
	c := l.counts
	c.Untold = l.unsaid
	c.Pending = l.added - c.Written - c.lost()
	if l.ours {
		c.Untold += l.telling
	}
	return c
}

// giveUp counts what waits as lost.
func (l *lines) giveUp() {
	if l.stuck == nil {
		l.stuck = errClosed
	}
	l.counts.lose(reason(l.stuck), l.account().Pending)
	l.unsaid = l.account().Untold
	l.buf, l.head, l.torn, l.ours = nil, 0, 0, false
}

// errClosed is why something is lost that nobody has tried to write.
const errClosed = cause("closed before it was written")

// cause is an error that is said in the same words as the reason of a loss.
type cause string

func (c cause) Error() string { return string(c) }

// reason is why messages are lost, in few words.
func reason(err error) string {
	var errno unix.Errno
	var why cause
	switch {
	case errors.As(err, &why):
		return string(why)
	case errors.Is(err, unix.ENOSPC):
		return "disk full"
	case errors.Is(err, unix.EDQUOT):
		return "disk quota exceeded"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}
