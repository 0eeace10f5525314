package output

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// BatchSize is the most bytes that one write(2) gets.
	BatchSize = 64 << 10
	// FirstRetry is the time before the first retry of a write. It doubles with each retry, up
	// to BufferOptions.Slowest.
	FirstRetry = 50 * time.Millisecond
)

// BufferOptions are the options of a Buffer.
type BufferOptions struct {
	Notice  Notice
	Limit   int           // the most bytes to keep while writing fails
	Slowest time.Duration // the longest time between two attempts
	CRLF    bool          // lines end in CR LF
}

// Buffer holds whole lines that wait to be written to one output. Lines beyond the limit are
// counted as lost, and a notice in the output says so later.
type Buffer struct {
	BufferOptions

	buf    []byte
	head   int   // offset of the first line that is not written
	torn   int   // bytes of the first line that are written
	ours   bool  // the first line is a notice
	stuck  error // why the last attempt failed; nil if it succeeded
	retry  time.Time
	delay  time.Duration
	added  uint64 // all messages, with those of an earlier program's output
	counts Counts
	untold untold
}

// untold is what no notice in the output says yet: lost messages.
type untold struct {
	n       uint64 // lost messages without a notice
	why     string
	telling uint64 // lost messages whose notice is not written yet
}

// add adds n messages, which were lost for that reason.
func (u *untold) add(n uint64, why string) {
	if n > 0 {
		u.n, u.why = u.n+n, why
	}
}

// NewBuffer returns an empty buffer.
func NewBuffer(o BufferOptions) Buffer { return Buffer{BufferOptions: o} }

var newline = []byte{'\n'}

// Size returns how many bytes wait.
func (b *Buffer) Size() int { return len(b.buf) - b.head }

// Add adds a line. While writing fails, lines beyond the limit are lost.
func (b *Buffer) Add(line []byte) {
	b.added++
	if b.stuck != nil && b.Size() > 0 && b.Size()+len(line) > b.Limit {
		b.untold.add(1, Reason(b.stuck))
		b.counts.Lose(b.untold.why, 1)
		return
	}
	if b.head > 0 && len(b.buf)+len(line)+1 > cap(b.buf) { // rather than growing
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

// Say adds a notice. Nothing else may wait.
func (b *Buffer) Say(text string) {
	b.buf, b.head, b.ours = b.Notice(b.buf[:0], text), 0, true
	b.endLine()
}

// TellLost adds the notice about lost messages, if there are any. Nothing else may wait.
func (b *Buffer) TellLost() bool {
	if b.untold.n == 0 {
		return false
	}
	b.Say(strconv.FormatUint(b.untold.n, 10) + " messages lost (" + b.untold.why + ")")
	b.untold.n, b.untold.telling = 0, b.untold.n
	return true
}

// first returns what to write next: the rest of a torn line, or the whole lines that fit into
// most bytes, at least one.
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

// Write writes what first returns. Writing only a part is not an error.
func (b *Buffer) Write(w io.Writer, most int) error {
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

// wrote removes the whole lines of the first n bytes that were not written before.
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

// Capacity returns the buffer's memory in bytes.
func (b *Buffer) Capacity() int { return cap(b.buf) }

// Trim frees memory that a big message needed.
func (b *Buffer) Trim() {
	if b.Size() == 0 && cap(b.buf) > 2*BatchSize {
		b.buf = nil
	}
}

// Fail records why an attempt failed, and schedules the next.
func (b *Buffer) Fail(now time.Time, err error) {
	b.stuck = err
	b.delay = min(max(2*b.delay, FirstRetry), b.Slowest)
	b.retry = now.Add(b.delay)
}

// Succeed records that everything was written.
func (b *Buffer) Succeed() { b.stuck, b.delay = nil, 0 }

// Due returns whether it is time to write.
func (b *Buffer) Due(now time.Time) bool { return b.stuck == nil || !now.Before(b.retry) }

// Next returns when to write if nothing is added before; zero for never.
func (b *Buffer) Next() time.Time {
	if b.stuck == nil || b.Size() == 0 && b.untold.n == 0 {
		return time.Time{}
	}
	return b.retry
}

// Counts returns what happened to the lines.
func (b *Buffer) Counts() Counts {
	c := b.counts
	c.Untold = b.untold.n
	c.Pending = b.added - c.Written - c.AllLost()
	if b.ours {
		c.Untold += b.untold.telling
	}
	return c
}

// GiveUp counts everything that waits as lost.
func (b *Buffer) GiveUp() {
	if b.stuck == nil {
		b.stuck = errClosed
	}
	b.counts.Lose(Reason(b.stuck), b.Counts().Pending)
	b.untold.n = b.Counts().Untold
	b.buf, b.head, b.torn, b.ours = nil, 0, 0, false
}

// errClosed is the reason for messages that no write was tried for.
const errClosed = Cause("closed before it was written")

// Cause is an error whose text is also the reason of a loss.
type Cause string

func (c Cause) Error() string { return string(c) }

// Reason returns the error as the reason of a loss, in a few words.
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

// Stuck returns whether the last attempt to write failed.
func (b *Buffer) Stuck() bool { return b.stuck != nil }

// Block stops writing for this reason, without a time for the next attempt.
func (b *Buffer) Block(why error) { b.stuck = why }

// Retry schedules the next attempt.
func (b *Buffer) Retry(at time.Time) { b.retry = at }

// Torn returns how many bytes of the first line are written.
func (b *Buffer) Torn() int { return b.torn }

// Mend makes the first line be written again as a whole.
func (b *Buffer) Mend() { b.torn = 0 }

// FirstLine returns the size of the first line in bytes.
func (b *Buffer) FirstLine() int { return bytes.IndexByte(b.buf[b.head:], '\n') + 1 }

// Untold returns whether a loss has no notice yet.
func (b *Buffer) Untold() bool { return b.untold.n > 0 }

// Unread counts n written messages, which nobody has read, as lost (or fewer, if fewer were written).
func (b *Buffer) Unread(n uint64, why string) {
	n = min(n, b.counts.Written)
	b.counts.Written -= n
	b.counts.Lose(why, n)
}

// Outline is what is known about a buffer while another goroutine uses it.
type Outline struct {
	added, written, untold uint64
	lost                   []Loss
	size                   int
}

// Note updates the outline. It does not allocate while nothing is lost.
func (b *Buffer) Note(o *Outline) {
	o.added, o.written, o.untold, o.size = b.added, b.counts.Written, b.untold.n+b.untold.telling, b.Size()
	if !slices.Equal(o.lost, b.counts.Lost) {
		o.lost = slices.Clone(b.counts.Lost)
	}
}

// Size returns how many bytes waited.
func (o *Outline) Size() int { return o.size }

// CountsAfter returns the counts of the outline's messages and of this buffer's messages,
// which follow them.
func (b *Buffer) CountsAfter(o *Outline) Counts {
	c := Counts{Written: o.written, Untold: o.untold + b.untold.n, Lost: slices.Clone(o.lost)}
	c.Add(b.counts.Written, b.counts.Lost)
	c.Pending = o.added + b.added - c.Written - c.AllLost()
	return c
}

// Take moves everything from another buffer to the end of this one.
func (b *Buffer) Take(from *Buffer) {
	b.buf = append(b.buf, from.buf[from.head:]...)
	b.added += from.added
	b.counts.Add(from.counts.Written, from.counts.Lost)
	b.untold.add(from.untold.n, from.untold.why)
	*from = Buffer{BufferOptions: from.BufferOptions, stuck: from.stuck}
}
