package intake

import (
	"bytes"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/batch"
	"devlog/internal/file"
	"devlog/internal/journal"
	"devlog/internal/syslog"
)

const (
	// maxConnections is the most connections. For one more, the one that was idle longest is closed.
	maxConnections = 4096
	// maxHeld is the most bytes of incomplete messages. If there are more, those of more than
	// fairHeld bytes are cut: a few clients that use all of it do not affect the others.
	maxHeld  = 4 << 20
	fairHeld = 1 << 10
	// maxSpare is the largest buffer to keep for later, in bytes. At most spares are kept.
	maxSpare = 4 << 10
	spares   = 4
	// pause is how long to stop accepting connections when there are no descriptors.
	pause = time.Second
)

// streams are the connections of stream sockets.
type streams struct {
	open  map[int]*connection
	held  int // bytes of all incomplete messages
	spare [][]byte
	// resumeAt is when to accept again; zero without a pause.
	resumeAt time.Time
	starved  bool // the lack of descriptors was reported

	// The connections, in the order of their last messages.
	newest, oldest *connection
}

// connection is a client's connection.
type connection struct {
	fd     int
	frame  framer
	rest   []byte // an incomplete message
	sender syslog.Sender
	from   *Socket   // the socket that accepted it, whose rate applies; nil for no limit
	waits  time.Time // until when it is paused because of the rate
	ending bool      // read it at once: it is being closed
	// isStdout says that it is a client's standard output. Then head is what the client sent
	// first; empty until it is complete. stdout is head, parsed.
	isStdout bool
	head     []byte
	stdout   journal.Stdout

	newer, older *connection
}

// accept accepts up to limit connections; -1 for all that wait.
func (i *Intake) accept(s *Socket, limit int) {
	for ; limit != 0; limit-- {
		fd, _, err := unix.Accept4(s.FD, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == nil:
			i.connected(fd, s)
			if len(i.streams.open) > maxConnections {
				i.evict()
			}
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			if !i.evict() {
				i.pauseAccepting()
				return
			}
		default: // EAGAIN: nobody waits; EINVAL: the socket was shut down
			return
		}
	}
}

func (i *Intake) connected(fd int, from *Socket) {
	c := &connection{fd: fd, from: from, isStdout: from.Journal}
	if i.asks || c.isStdout {
		c.askSender()
	}
	i.streams.open[fd] = c
	i.streams.push(c)
	i.streams.starved = false
	if i.watch(c) != nil {
		i.end(c) // what it has sent is read, and the client can connect again
	}
}

// evict closes the connection that was idle longest, after reading what it sent: clients of
// syslog(3) connect again. It returns false if there are no connections.
func (i *Intake) evict() bool {
	c := i.streams.oldest
	if c == nil {
		return false
	}
	i.Evicted++
	i.taker.Done()
	i.end(c)
	return true
}

// pauseAccepting stops accepting for a while: without descriptors, the loop would only try.
func (i *Intake) pauseAccepting() {
	if !i.streams.starved {
		i.streams.starved = true
		i.taker.Say(syslog.Warning, "no descriptors left for connections: clients must wait")
	}
	for _, s := range i.sockets {
		if s.Stream {
			_ = i.loop.Pause(s.FD)
		}
	}
	i.streams.resumeAt = time.Now().Add(pause)
	i.schedule()
}

// resumeAccepting accepts again after the pause.
func (i *Intake) resumeAccepting(now time.Time) {
	if i.streams.resumeAt.IsZero() || now.Before(i.streams.resumeAt) {
		return
	}
	i.streams.resumeAt = time.Time{}
	for _, s := range i.sockets {
		if s.Stream && i.loop.Resume(s.FD) != nil {
			i.streams.resumeAt = now.Add(pause)
		}
	}
}

func (i *Intake) watch(c *connection) error {
	return i.loop.Add(c.fd, func() { i.read(c) })
}

// askSender asks the kernel who connected.
func (c *connection) askSender() {
	if cred, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
		c.sender = batch.SenderOf(cred)
	}
}

// read reads once from a connection, and returns whether there may be more data.
func (i *Intake) read(c *connection) bool {
	st := &i.streams
	if !c.ending && !i.mayRead(c, time.Now()) {
		return false
	}
	i.memory.Hold(i.taker, i.Number, true)
	data, err := i.memory.Read(c.fd)
	switch {
	case errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN):
		return false
	case err != nil || len(data) == 0: // its end; or it was closed with unread data
		i.closeConnection(c)
		return false
	}
	i.taker.Done()
	st.touch(c)
	now := time.Now()
	st.held -= len(c.rest)
	if len(c.rest) > 0 {
		c.rest = append(c.rest, data...)
		data = c.rest
	}
	if c.isStdout && len(c.head) == 0 {
		if data = c.begin(data); data == nil {
			i.Wrong++
			c.rest = nil
			i.closeConnection(c)
			return false
		}
	}
	for !c.isStdout || len(c.head) > 0 {
		message, rest, cut, ok := c.frame.next(data)
		data = rest
		if !ok {
			break
		}
		i.takeFrom(c, message, cut, now)
	}
	if len(data) > fairHeld && st.held+len(data) > maxHeld {
		i.takeFrom(c, c.frame.cut(data), true, now)
		data = nil
	}
	st.keep(c, data)
	return true
}

func (st *streams) keep(c *connection, data []byte) {
	st.held += len(data)
	switch {
	case len(data) > 0 && c.rest == nil && len(st.spare) > 0:
		last := len(st.spare) - 1
		c.rest, st.spare = st.spare[last], st.spare[:last]
		c.rest = append(c.rest[:0], data...)
	case len(data) > 0 && cap(c.rest) <= max(maxSpare, 2*len(data)):
		c.rest = append(c.rest[:0], data...) // data may be part of rest
	case len(data) > 0: // do not use a long message's memory for the beginning of the next
		c.rest = bytes.Clone(data)
	case c.rest != nil:
		if cap(c.rest) <= maxSpare && len(st.spare) < spares {
			st.spare = append(st.spare, c.rest)
		}
		c.rest = nil
	}
}

// end reads everything that a connection has sent and closes it. From then on a send fails
// (EPIPE).
func (i *Intake) end(c *connection) {
	c.ending = true
	_ = unix.Shutdown(c.fd, unix.SHUT_RD) // otherwise a sender that continues would keep this busy
	for range maxDrain {
		if !i.read(c) {
			break
		}
	}
	i.closeConnection(c)
}

// maxDrain is the most reads of what one socket can have queued.
const maxDrain = 1 << 12

// closeConnection closes a connection that is open. An incomplete message counts as a message.
func (i *Intake) closeConnection(c *connection) {
	st := &i.streams
	if st.open[c.fd] != c {
		return
	}
	if len(c.rest) > 0 && !c.frame.skip {
		i.takeFrom(c, c.frame.cut(c.rest), false, time.Now())
		i.taker.Done()
	}
	st.held -= len(c.rest)
	st.keep(c, nil)
	st.remove(c)
	delete(st.open, c.fd)
	_ = i.loop.Remove(c.fd)
	file.CloseNow(c.fd) // drops what it has sent and was not read
}

// push makes a connection the newest.
func (st *streams) push(c *connection) {
	c.newer, c.older = nil, st.newest
	if st.newest != nil {
		st.newest.newer = c
	} else {
		st.oldest = c
	}
	st.newest = c
}

func (st *streams) remove(c *connection) {
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		st.newest = c.older
	}
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		st.oldest = c.newer
	}
}

func (st *streams) touch(c *connection) {
	if st.newest != c {
		st.remove(c)
		st.push(c)
	}
}
