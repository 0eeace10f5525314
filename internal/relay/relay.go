// Package relay sends messages to a daemon of the host: one datagram each, to the socket of
// journald or syslogd.
package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
)

const (
	// maxWaiting is how many bytes wait while the daemon does not receive.
	maxWaiting = 1 << 20
	// firstRetry and lastRetry are the shortest and longest time between attempts to connect.
	// It doubles with each.
	firstRetry, lastRetry = 50 * time.Millisecond, time.Second
	// sendBuffer is the size of the socket's buffer: a datagram must fit (sd_journal_send(3)
	// asks for the same).
	sendBuffer = 8 << 20
	// sizeLen is the size of the length before each queued message.
	sizeLen = 4
	// busyFrom is how many bytes wait before senders wait too, and patience is for how long
	// they do while the daemon receives nothing: journald may need seconds to restart.
	busyFrom, patience = maxWaiting / 4, 10 * time.Second
	// busyPoll is the time until senders may try again.
	busyPoll = 10 * time.Millisecond
)

// Options are the options of a Relay.
type Options struct {
	Name string // the output's name
	Path string // the daemon's socket
	// Frame appends a message in the daemon's format.
	Frame func(dst []byte, m output.Message) []byte
	// Notice makes a message with this text, which comes from the receiver itself.
	Notice func(text string) output.Message
	// Wake makes the loop call Flush when the descriptor is writable again or its other end is
	// closed. It is called once for each descriptor.
	Wake func(fd int)
	// Problem reports, once, why the daemon cannot be reached.
	Problem func(err error)
}

// Relay is an output to a daemon. It never waits for the daemon: 1 MiB of messages wait, and
// more are lost. Busy says when senders should wait.
type Relay struct {
	Options

	fd     int    // -1 while not connected
	queue  []byte // each message after its length
	head   int    // what is before it was sent
	queued uint64
	counts output.Counts
	delay  time.Duration
	retry  time.Time // zero if nothing failed
	why    error     // why the last attempt failed
	since  time.Time // when the daemon stopped receiving; zero if it receives
	awaits bool      // Wake was called for the descriptor
	told   bool      // Problem was called
	untold uint64    // lost messages that the daemon does not know about
}

// New returns a Relay. It connects for the first message.
func New(o Options) *Relay { return &Relay{Options: o, fd: -1} }

// Name returns the output's name.
func (r *Relay) Name() string { return r.Options.Name }

// Counts returns what happened to the messages.
func (r *Relay) Counts() output.Counts {
	c := r.counts
	c.Pending, c.Untold = r.queued, r.untold
	return c
}

// Add adds a message. It is lost if 1 MiB waits already.
func (r *Relay) Add(m output.Message) {
	if r.why != nil && len(r.queue)-r.head+len(m.Line) > maxWaiting {
		r.lose(1)
		return
	}
	r.push(m)
	if r.why == nil && len(r.queue)-r.head > maxWaiting {
		r.Flush(time.Now())
	}
}

func (r *Relay) lose(n uint64) {
	r.untold += n
	r.counts.Lose(output.Reason(r.why), n)
}

func (r *Relay) push(m output.Message) {
	if r.head > 0 && r.head >= len(r.queue)-r.head { // more than half of the queue was sent
		r.queue, r.head = r.queue[:copy(r.queue, r.queue[r.head:])], 0
	}
	at := len(r.queue)
	r.queue = r.Frame(append(r.queue, make([]byte, sizeLen)...), m)
	binary.NativeEndian.PutUint32(r.queue[at:], uint32(len(r.queue)-at-sizeLen))
	r.queued++
}

// Flush sends what the daemon receives now.
func (r *Relay) Flush(now time.Time) {
	if r.fd < 0 && !r.retry.IsZero() && now.Before(r.retry) {
		return
	}
	for again := true; r.queued > 0 && (r.fd >= 0 || r.connect(now)); {
		size := int(binary.NativeEndian.Uint32(r.queue[r.head:]))
		err := unix.Send(r.fd, r.queue[r.head+sizeLen:][:size], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			r.counts.Written++
			again = true
			r.pop(size)
			r.recovered()
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			r.block(now, errFull)
			r.await()
			return
		case errors.Is(err, unix.EMSGSIZE):
			r.why = errLong
			r.lose(1)
			r.why = nil
			r.pop(size)
		case again: // the daemon restarted, with a new socket
			again = false
			r.disconnect()
		default:
			r.disconnect()
			r.fail(now, err)
			return
		}
	}
	if r.queued == 0 && cap(r.queue) > 2*maxWaiting {
		r.queue = nil
	}
}

func (r *Relay) pop(size int) {
	r.queued--
	if r.head += sizeLen + size; r.head == len(r.queue) {
		r.queue, r.head = r.queue[:0], 0
	}
}

// recovered records that the daemon receives again, and tells it what was lost.
func (r *Relay) recovered() {
	r.why, r.since, r.delay, r.retry, r.told = nil, time.Time{}, 0, time.Time{}, false
	if n := r.untold; n > 0 {
		r.untold = 0
		r.push(r.Notice(strconv.FormatUint(n, 10) + " messages lost on the way here"))
		r.counts.Written-- // the notice does not count as a message
	}
}

// connect returns whether the daemon can be reached.
func (r *Relay) connect(now time.Time) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer) // otherwise long messages do not fit into a datagram
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: r.Path}); err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		r.fail(now, err)
		return false
	}
	r.fd, r.awaits = fd, false
	return true
}

func (r *Relay) disconnect() {
	if r.fd >= 0 {
		_ = unix.Close(r.fd)
		r.fd = -1
	}
}

// block records why the daemon does not receive.
func (r *Relay) block(now time.Time, why error) {
	r.why = why
	if r.since.IsZero() {
		r.since = now
	}
}

// Busy returns until when senders should wait, because the daemon is slower than they are, or
// is being restarted; zero if they need not. Nobody waits for a daemon that has received
// nothing for ten seconds, until it receives again.
func (r *Relay) Busy(now time.Time) (until time.Time) {
	if r.since.IsZero() || len(r.queue)-r.head < busyFrom || now.Sub(r.since) > patience {
		return until
	}
	return now.Add(busyPoll)
}

// fail records why the daemon cannot be reached, and schedules the next attempt.
func (r *Relay) fail(now time.Time, err error) {
	r.block(now, err)
	r.delay = min(max(2*r.delay, firstRetry), lastRetry)
	r.retry = now.Add(r.delay)
	if !r.told {
		r.told = true
		r.Problem(err)
	}
}

func (r *Relay) await() {
	if !r.awaits {
		r.awaits = true
		r.Wake(r.fd)
	}
}

// State returns what to pass on. Each pending message has its length before it.
func (r *Relay) State(time.Time) output.State {
	s := output.State{
		Written: r.counts.Written, Lost: slices.Clone(r.counts.Lost), Pending: bytes.Clone(r.queue[r.head:]),
		Unsaid: r.untold, FD: -1,
	}
	return s
}

// Resume continues for another relay.
func (r *Relay) Resume(s output.State, _ time.Time) {
	r.counts.Add(s.Written, s.Lost)
	r.untold += s.Unsaid
	for rest := s.Pending; len(rest) >= sizeLen; {
		size := int(binary.NativeEndian.Uint32(rest))
		if size > len(rest)-sizeLen {
			break
		}
		r.queue = append(r.queue, rest[:sizeLen+size]...)
		r.queued++
		rest = rest[sizeLen+size:]
	}
}

// Buffered returns the size of what waits, in bytes.
func (r *Relay) Buffered() int { return len(r.queue) - r.head }

// Next returns when to connect again; zero for never.
func (r *Relay) Next() time.Time {
	if r.fd >= 0 || r.queued == 0 {
		return time.Time{}
	}
	return r.retry
}

// Reopen connects again for the next message.
func (r *Relay) Reopen(now time.Time) {
	r.disconnect()
	r.retry = time.Time{}
	r.Flush(now)
}

// Close counts what waits as lost.
func (r *Relay) Close() {
	r.disconnect()
	if r.why == nil {
		r.why = errClosed
	}
	if r.queued > 0 {
		r.lose(r.queued)
	}
	r.queue, r.head, r.queued = nil, 0, 0
}

// Reasons of losses, besides the kernel's errors.
var (
	errFull   = errors.New("the daemon does not receive")
	errLong   = errors.New("message too long")
	errClosed = errors.New("closed before it was sent")
)
