package output

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// BatchSize is how many bytes are gathered for one write(2) at most.
	BatchSize = 64 << 10
	// FirstRetry is the time between the first two attempts to write; each
	// further one takes twice the time of the last, up to BufferOptions.Slowest.
	FirstRetry = 50 * time.Millisecond
)

// BufferOptions are how a Buffer keeps and ends lines.
type BufferOptions struct {
	Notice  Notice
	Limit   int           // bytes that are kept while they cannot be written
	Slowest time.Duration // the longest time between two attempts
	CRLF    bool          // lines end in CR LF
}

// Buffer holds whole lines on their way to one place: it keeps what cannot be written
// yet, counts what exceeds the limit as lost, and has the place told of that later.
type Buffer struct {
	BufferOptions

	buf    []byte
	head   int   // lines before it are written
	torn   int   // so many bytes of the first line are written
	ours   bool  // the first line is our own notice
	stuck  error // why the last attempt failed; nil if it did not
	retry  time.Time
	delay  time.Duration
	added  uint64 // messages, with those that an output before this one was given
	counts Counts
	untold untold
}

// untold is what the place is to be told of: lost messages.
type untold struct {
	n       uint64 // of so many no notice tells yet
	why     string
	telling uint64 // of so many a notice tells that waits
}

// NewBuffer returns an empty buffer.
func NewBuffer(o BufferOptions) Buffer { return Buffer{BufferOptions: o} }

var newline = []byte{'\n'}

// Writer is where lines are written to.
type Writer interface {
	Write(p []byte) (int, error)
}

// Size is how many bytes wait.
func (b *Buffer) Size() int { return len(b.buf) - b.head }

// Add takes a line; while writing fails it is lost beyond the limit.
func (b *Buffer) Add(line []byte) {
	b.added++
	if b.stuck != nil && b.Size() > 0 && b.Size()+len(line) > b.Limit {
		b.untold.n++
		b.untold.why = Reason(b.stuck)
		b.counts.Lose(b.untold.why, 1)
		return
	}
	if b.head > 0 && len(b.buf)+len(line)+1 > cap(b.buf) { // better than to grow
		b.buf, b.head = b.buf[:copy(b.buf, b.buf[b.head:])], 0
	}
	b.buf = append(b.buf, line...)
	b.endLine()
}

func (b *Buffer) endLine() {
	if b.CRLF {
		b.buf = append(b.buf[:len(b.buf)-1], "\r\n"...)
	}
}

// Say adds a notice by the receiver; nothing else may wait.
func (b *Buffer) Say(text string) {
	b.buf, b.head, b.ours = b.Notice(b.buf[:0], text), 0, true
	b.endLine()
}

// TellLost adds the notice of what was lost, if something was; nothing else
// may wait.
func (b *Buffer) TellLost() bool {
	if b.untold.n == 0 {
		return false
	}
	b.Say(strconv.FormatUint(b.untold.n, 10) + " messages lost (" + b.untold.why + ")")
	b.untold.n, b.untold.telling = 0, b.untold.n
	return true
}

// first returns what is to be written next: the rest of a torn line, or the
// whole lines that fit into this many bytes, at least one.
func (b *Buffer) first(most int) []byte {
	rest := b.buf[b.head+b.torn:]
	if b.torn == 0 {
		if len(rest) <= most {
			return rest
		}
		if n := bytes.LastIndexByte(rest[:max(most, 0)], '\n') + 1; n > 0 {
			return rest[:n]
		}
	}
	return rest[:bytes.IndexByte(rest, '\n')+1]
}

// Write writes what first returns to w. It is no error when less is written.
func (b *Buffer) Write(w Writer, most int) error {
	for {
		n, err := w.Write(b.first(most))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		b.wrote(max(n, 0))
		if err == nil && n <= 0 {
			return unix.ENOSPC
		}
		return err
	}
}

// wrote takes out the whole lines of the first n bytes that were not written
// before.
func (b *Buffer) wrote(n int) {
	n += b.torn
	done := b.buf[b.head : b.head+n]
	whole := bytes.LastIndexByte(done, '\n') + 1
	count := uint64(bytes.Count(done[:whole], newline))
	if count > 0 && b.ours {
		b.ours, b.untold.telling = false, 0
		count--
	}
	b.counts.Written += count
	b.torn = n - whole
	if b.head += whole; b.head == len(b.buf) {
		b.buf, b.head = b.buf[:0], 0
	}
}

// Capacity is how many bytes of memory the buffer has.
func (b *Buffer) Capacity() int { return cap(b.buf) }

// Trim gives back memory that a big message has taken.
func (b *Buffer) Trim() {
	if b.Size() == 0 && cap(b.buf) > 2*BatchSize {
		b.buf = nil
	}
}

// Fail notes why an attempt failed, and when to make the next one.
func (b *Buffer) Fail(now time.Time, err error) {
	b.stuck = err
	b.delay = min(max(2*b.delay, FirstRetry), b.Slowest)
	b.retry = now.Add(b.delay)
}

// Succeed notes that all was written.
func (b *Buffer) Succeed() { b.stuck, b.delay = nil, 0 }

// Due says that it is time to write.
func (b *Buffer) Due(now time.Time) bool { return b.stuck == nil || !now.Before(b.retry) }

// Next is when to write although nothing is added; zero is never.
func (b *Buffer) Next() time.Time {
	if b.stuck == nil || b.Size() == 0 && b.untold.n == 0 {
		return time.Time{}
	}
	return b.retry
}

// Counts is what became of the lines.
func (b *Buffer) Counts() Counts {
	c := b.counts
	c.Untold = b.untold.n
	c.Pending = b.added - c.Written - c.AllLost()
	if b.ours {
		c.Untold += b.untold.telling
	}
	return c
}

// GiveUp counts what waits as lost.
func (b *Buffer) GiveUp() {
	if b.stuck == nil {
		b.stuck = errClosed
	}
	b.counts.Lose(Reason(b.stuck), b.Counts().Pending)
	b.untold.n = b.Counts().Untold
	b.buf, b.head, b.torn, b.ours = nil, 0, 0, false
}

// errClosed is why something is lost that nobody has tried to write.
const errClosed = Cause("closed before it was written")

// Cause is an error that is said in the same words as the reason of a loss.
type Cause string

func (c Cause) Error() string { return string(c) }

// Reason is why messages are lost, in few words.
func Reason(err error) string {
	var errno unix.Errno
	var why Cause
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

// Stuck reports whether the last attempt to write failed.
func (b *Buffer) Stuck() bool { return b.stuck != nil }

// Block says why nothing can be written now, without a time for the next attempt.
func (b *Buffer) Block(why error) { b.stuck = why }

// Retry has the next attempt be made then.
func (b *Buffer) Retry(at time.Time) { b.retry = at }

// Torn is how many bytes of the first line are written.
func (b *Buffer) Torn() int { return b.torn }

// Mend has the first line be written whole, though a part of it was.
func (b *Buffer) Mend() { b.torn = 0 }

// FirstLine is the size of the first line, in bytes.
func (b *Buffer) FirstLine() int { return bytes.IndexByte(b.buf[b.head:], '\n') + 1 }

// Untold reports whether the place is to be told of a loss.
func (b *Buffer) Untold() bool { return b.untold.n > 0 }

// Unread counts n messages, at most as many as were written, as lost for that reason.
func (b *Buffer) Unread(n uint64, why string) {
	n = min(n, b.counts.Written)
	b.counts.Written -= n
	b.counts.Lose(why, n)
}

// Outline is what is known of a buffer that somebody else uses.
type Outline struct {
	added, written, untold uint64
	lost                   []Loss
	size                   int
}

// Note brings the outline up to date. While nothing is lost it does not allocate.
func (b *Buffer) Note(o *Outline) {
	o.added, o.written, o.untold, o.size = b.added, b.counts.Written, b.untold.n+b.untold.telling, b.Size()
	if !slices.Equal(o.lost, b.counts.Lost) {
		o.lost = slices.Clone(b.counts.Lost)
	}
}

// Size is how many bytes waited.
func (o *Outline) Size() int { return o.size }

// CountsAfter says what became of the messages of the outline and of this buffer's,
// which follow.
func (b *Buffer) CountsAfter(o *Outline) Counts {
	c := Counts{Written: o.written + b.counts.Written, Untold: o.untold + b.untold.n, Lost: slices.Clone(o.lost)}
	for _, l := range b.counts.Lost {
		c.Lose(l.Reason, l.N)
	}
	c.Pending = o.added + b.added - c.Written - c.AllLost()
	return c
}

// Take takes everything out of another buffer, to follow what is in this one.
func (b *Buffer) Take(from *Buffer) {
	b.buf = append(b.buf, from.buf[from.head:]...)
	b.added += from.added
	b.counts.Written += from.counts.Written
	for _, lost := range from.counts.Lost {
		b.counts.Lose(lost.Reason, lost.N)
	}
	if from.untold.n > 0 {
		b.untold.n, b.untold.why = b.untold.n+from.untold.n, from.untold.why
	}
	*from = Buffer{BufferOptions: from.BufferOptions, stuck: from.stuck}
}
