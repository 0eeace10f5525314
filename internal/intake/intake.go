// Package intake owns how messages come in: from datagram and stream sockets, in batches,
// split into messages, at a limited rate, and with their senders.
package intake

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// maxBatches is how many full batches are read before other sockets get their turn.
	maxBatches = 8
	// maxAccepts is how many connections are accepted before other sockets get their turn.
	maxAccepts = 64
)

// Taker receives what comes in.
type Taker interface {
	// Take receives one message, which is valid during the call. cut says that it was longer.
	Take(raw []byte, cut bool, from syslog.Sender, now time.Time)
	// Busy returns until when senders should wait, because an output is slower than they are;
	// zero if they need not.
	Busy(now time.Time) (until time.Time)
	// TakeEntry takes a message of the journal's protocol, which is valid during the call.
	TakeEntry(m *syslog.Message, now time.Time)
	// Done is called after each read, even if no message was taken.
	Done()
	// Failed is called when a socket cannot be read. It is not read again.
	Failed(err error)
	// Say reports something to the operator.
	Say(severity syslog.Severity, text string)
	batch.Holder
}

// Counts are counts since the start.
type Counts struct {
	Received  uint64 // messages, including dropped ones
	Bytes     uint64 // of messages that were not dropped
	Dropped   uint64 // messages that exceeded the rate
	Cut       uint64 // messages that were longer than batch.SlotSize
	Throttled uint64 // times that senders had to wait
	HighWater uint64 // most messages in one read
	Evicted   uint64 // connections that were closed for others
	Wrong     uint64 // entries of the journal that cannot be read
}

// Intake reads from the sockets of one container. Only the loop's goroutine uses it.
type Intake struct {
	Counts
	// Number distinguishes it from other intakes of the process; see batch.Marks.
	Number uint64

	loop    *eventloop.Loop
	taker   Taker
	memory  *batch.Memory
	sockets []*Socket
	streams streams
	limits  limits
	asks    bool // the kernel reports senders
	timer   *eventloop.Timer
	entries entries
}

// New returns an intake without sockets. The memory may be shared by all intakes of
// a loop.
func New(loop *eventloop.Loop, memory *batch.Memory, taker Taker, rate syslogconf.Rate, overflow syslogconf.Overflow) *Intake {
	i := &Intake{loop: loop, taker: taker, memory: memory, limits: limits{rate: rate, overflow: overflow}}
	i.streams.open = map[int]*connection{}
	i.timer = loop.NewTimer(i.step)
	return i
}

// Asks returns whether the kernel reports who sends each message.
func (i *Intake) Asks() bool { return i.asks }

// Sockets returns the sockets.
func (i *Intake) Sockets() []*Socket { return i.sockets }

// Connections returns how many clients are connected; -1 without a stream socket.
func (i *Intake) Connections() int {
	if n := len(i.streams.open); n > 0 || slices.ContainsFunc(i.sockets, func(s *Socket) bool { return s.Stream }) {
		return n
	}
	return -1
}

// Add starts receiving from a socket.
func (i *Intake) Add(s *Socket) error {
	ready := func() {
		if err := i.receive(s, i.turn(s)); err != nil {
			_ = i.loop.Remove(s.FD)
			i.taker.Failed(err)
		}
	}
	if s.Stream {
		ready = func() { i.accept(s, maxAccepts) }
	}
	if err := i.memory.Allocate(); err != nil {
		return err
	}
	if err := i.loop.Add(s.FD, ready); err != nil {
		return err
	}
	if i.asks || s.Journal {
		s.askSenders()
	}
	s.refuseFiles()
	i.sockets = append(i.sockets, s)
	return nil
}

// Remove reads what a socket has queued, and closes it. Its connections stay.
func (i *Intake) Remove(s *Socket) error {
	err := i.drain(s)
	i.sockets = slices.DeleteFunc(i.sockets, func(o *Socket) bool { return o == s })
	_ = i.loop.Remove(s.FD)
	file.CloseNow(s.FD)
	return err
}

// AskSenders makes the kernel report who sends each message.
func (i *Intake) AskSenders() {
	i.asks = true
	for _, s := range i.sockets {
		s.askSenders()
	}
	for _, c := range i.streams.open {
		c.askSender()
	}
}

// Drain stops all senders, reads what is queued without a limit, and closes the connections.
func (i *Intake) Drain() error {
	var errs []error
	for _, s := range i.sockets {
		errs = append(errs, i.drain(s))
	}
	i.HangUp()
	return errors.Join(errs...)
}

// HangUp reads what the connections have sent, and closes them.
func (i *Intake) HangUp() {
	for c := i.streams.oldest; c != nil; c = i.streams.oldest {
		c.from = nil
		i.end(c)
	}
	i.sayDropped()
}

func (i *Intake) drain(s *Socket) error {
	// From here on a send fails (EPIPE), and nothing is added to the queue.
	if err := unix.Shutdown(s.FD, unix.SHUT_RD); err != nil {
		return fmt.Errorf("cannot shut down a socket: %w", err)
	}
	if s.Stream {
		i.accept(s, -1)
		return nil
	}
	return i.receive(s, -1)
}

// Close closes the sockets and connections unread. If others have them open, they stay in epoll.
func (i *Intake) Close() {
	for _, s := range i.sockets {
		_ = i.loop.Remove(s.FD)
		file.CloseNow(s.FD)
	}
	for fd := range i.streams.open {
		_ = i.loop.Remove(fd)
		file.CloseNow(fd)
	}
	i.entries.Close()
	i.timer.Set(time.Time{})
	i.sockets = nil
	i.memory.Leave(i.taker)
}

// Forget records that the messages that this intake has read are written.
func (i *Intake) Forget() { i.memory.ForgetBy(i.taker) }

// turn returns how many batches are read before other sockets get their turn. With kept memory that
// is one, and what others have there is written first.
func (i *Intake) turn(s *Socket) int {
	if !i.memory.Kept() {
		return maxBatches
	}
	if h := i.memory.Holder(); h != nil {
		h.Settle(time.Now())
		if !slices.Contains(i.sockets, s) { // it was closed while a file hung
			return 0
		}
	}
	return 1
}

// receive reads up to that many batches from a socket. If batches is negative, it reads
// everything, without a limit.
func (i *Intake) receive(s *Socket, batches int) error {
	if s.Journal && batches != 0 {
		return i.receiveEntries(s, batches)
	}
	limited := s
	if batches < 0 {
		limited = nil
	}
	read := 0
	defer func() {
		i.HighWater = max(i.HighWater, uint64(read))
		if read > 0 {
			i.taker.Done()
		}
	}()
	for ; batches != 0; batches-- {
		want := batch.Slots
		if limited != nil {
			if want = i.allows(limited, time.Now()); want == 0 {
				return nil
			}
		}
		i.memory.Hold(i.taker, i.Number, false)
		n, err := i.memory.Receive(s.FD, want, i.asks)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("cannot receive messages: %w", err)
		}
		now := time.Now()
		for k := range n {
			raw, cut := i.memory.Message(k)
			i.take(limited, raw, cut, i.memory.Sender(k), now)
		}
		read += n
		// If several messages were queued, usually more have come meanwhile.
		if n < 2 && batches > 0 {
			return nil
		}
	}
	return nil
}

// take passes on a message of a socket, unless it exceeds the rate.
func (i *Intake) take(s *Socket, raw []byte, cut bool, from syslog.Sender, now time.Time) {
	if i.counts(s, len(raw), cut, now) {
		i.taker.Take(raw, cut, from, now)
	}
}

// counts counts one message, and returns whether to pass it on.
func (i *Intake) counts(s *Socket, size int, cut bool, now time.Time) bool {
	i.Received++
	if !i.admit(s, now) {
		return false
	}
	i.Bytes += uint64(size)
	if cut {
		i.Cut++
	}
	return true
}

func (i *Intake) step(now time.Time) {
	i.resumeAccepting(now)
	i.resumeReading(now)
	if !i.limits.sayAt.IsZero() && !now.Before(i.limits.sayAt) {
		i.sayDropped()
	}
	i.schedule()
}

// schedule sets the timer to the next thing that is due.
func (i *Intake) schedule() {
	next := i.limits.sayAt
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(i.streams.resumeAt)
	for _, s := range i.sockets {
		earlier(s.waits)
	}
	for _, c := range i.limits.waiting {
		earlier(c.waits)
	}
	i.timer.Set(next)
}

func (i *Intake) sayDropped() {
	i.limits.sayAt = time.Time{}
	if n := i.limits.unsaid; n > 0 {
		i.limits.unsaid = 0
		i.taker.Say(syslog.Warning, strconv.FormatUint(n, 10)+" messages lost (more than "+i.limits.rate.String()+")")
	}
}
