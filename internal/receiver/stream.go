package receiver

import (
	"bytes"
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

const (
	// backlog is how many connections wait to be accepted; more must wait to
	// connect.
	backlog = 1024
	// maxConnections is how many are kept; then the one idle the longest goes.
	maxConnections = 4096
	// maxAccepts is how many are accepted before others are served.
	maxAccepts = 64
	// maxHeld is how many bytes of incomplete messages are kept. When there are
	// more, those of more than fairHeld bytes are cut: a few who hold all of it
	// are not to have the messages of others cut.
	maxHeld  = 4 << 20
	fairHeld = 1 << 10
	// maxSpare is the size in bytes of a buffer that is kept for less than it can
	// hold, and for later, of which there are spares at most.
	maxSpare = 4 << 10
	spares   = 4
	// pause is how long no connection is accepted when no more can be had.
	pause = time.Second
)

// streams are the connections of stream sockets.
type streams struct {
	open   map[int]*connection
	buffer []byte // what is read from any of them
	held   int    // bytes of incomplete messages of all
	spare  [][]byte
	// resumeAt is when to accept again; zero while there is no pause.
	resumeAt time.Time
	starved  bool // that no more can be had was said

	// The connections in the order of their last messages.
	newest, oldest *connection
}

// connection is a client's.
type connection struct {
	fd     int
	frame  framer
	rest   []byte // of an incomplete message
	sender syslog.Sender
	from   *socket   // that it was accepted at, of whose share its messages are; nil for no limit
	waits  time.Time // until when it is not read, because of the rate
	ending bool      // it is read at once, for it is closed then

	newer, older *connection
}

func newStreams() *streams {
	return &streams{open: map[int]*connection{}, buffer: make([]byte, slotSize)}
}

// watchSocket begins to receive from a socket.
func (r *receiver) watchSocket(s *socket) error {
	if s.stream && r.streams == nil {
		r.streams = newStreams()
	}
	if r.sender && !s.stream {
		// Without it messages say nothing of their sender, which is no reason
		// not to receive them.
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	return r.watch(s.fd)
}

// readable reads what there is at a descriptor. One that was closed since the
// event is nobody's any more.
func (r *receiver) readable(fd int) error {
	if r.kernel != nil && fd == r.kernel.fd {
		r.readKernel(maxRecords)
		return nil
	}
	if r.streams != nil {
		if c := r.streams.open[fd]; c != nil {
			r.read(c)
			return nil
		}
	}
	for _, s := range r.sockets {
		switch {
		case s.fd != fd:
		case s.stream:
			r.accept(s, maxAccepts)
			return nil
		default:
			return r.receive(fd, maxBatches)
		}
	}
	return nil
}

// accept takes at most this many connections, -1 for all that wait.
func (r *receiver) accept(s *socket, limit int) {
	for ; limit != 0; limit-- {
		fd, _, err := unix.Accept4(s.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == nil:
			r.connected(fd, s)
			if len(r.streams.open) > maxConnections {
				r.evict()
			}
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			if !r.evict() {
				r.pauseAccepting()
				return
			}
		default: // EAGAIN: nobody waits; EINVAL: shut down, and nobody does
			return
		}
	}
}

func (r *receiver) connected(fd int, from *socket) {
	c := &connection{fd: fd, from: from}
	if r.sender {
		if cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			c.sender = sender(cred)
		}
	}
	r.streams.open[fd] = c
	r.streams.push(c)
	r.streams.starved = false
	if r.watch(fd) != nil {
		r.end(c) // what it has sent is read; it may connect anew
	}
}

// evict closes the connection that has been idle the longest, having read what
// is there: clients of syslog(3) connect anew. It reports whether there was one.
func (r *receiver) evict() bool {
	c := r.streams.oldest
	if c == nil {
		return false
	}
	r.evicted++
	r.end(c)
	return true
}

// pauseAccepting leaves those who connect waiting: there is no descriptor for
// them, and trying again at once would be all that is done.
func (r *receiver) pauseAccepting() {
	if !r.streams.starved {
		r.streams.starved = true
		r.say(syslog.Warning, "no descriptors left for connections: clients must wait")
	}
	for _, s := range r.sockets {
		if s.stream {
			_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) // it may have left already
		}
	}
	r.streams.resumeAt = time.Now().Add(pause)
}

// stepStreams accepts again after a pause.
func (r *receiver) stepStreams(now time.Time) {
	if r.streams == nil || r.streams.resumeAt.IsZero() || now.Before(r.streams.resumeAt) {
		return
	}
	r.streams.resumeAt = time.Time{}
	for _, s := range r.sockets {
		if !s.stream {
			continue
		}
		_ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) // one that came meanwhile is there
		if r.watch(s.fd) != nil {
			r.streams.resumeAt = now.Add(pause)
		}
	}
}

// read reads once from a connection, so that the others have their turn, and
// reports whether there may be more.
func (r *receiver) read(c *connection) bool {
	st := r.streams
	if !c.ending && !r.mayRead(c, time.Now()) {
		return false
	}
	n, err := readNow(c.fd, st.buffer)
	switch {
	case errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN):
		return false
	case err != nil || n == 0: // its end, or it had not read everything
		r.closeConnection(c)
		return false
	}
	st.touch(c)
	r.router.At(time.Now())
	data := st.buffer[:n]
	st.held -= len(c.rest)
	if len(c.rest) > 0 {
		c.rest = append(c.rest, data...)
		data = c.rest
	}
	for {
		message, rest, cut, ok := c.frame.next(data)
		data = rest
		if !ok {
			break
		}
		r.handleFrom(c, message, cut)
	}
	if len(data) > fairHeld && st.held+len(data) > maxHeld {
		r.handleFrom(c, c.frame.cut(data), true)
		data = nil
	}
	st.keep(c, data)
	return true
}

// handleFrom passes a message of a connection to the outputs, unless it is too
// much.
func (r *receiver) handleFrom(c *connection, message []byte, cut bool) {
	if r.admit(c.from, r.router.Now()) {
		r.handle(message, cut, c.sender)
	}
}

// readNow is read(2) of what never blocks, unknown to the scheduler (see wait).
func readNow(fd int, buffer []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// keep keeps the beginning of a message for later.
func (st *streams) keep(c *connection, data []byte) {
	st.held += len(data)
	switch {
	case len(data) > 0 && c.rest == nil && len(st.spare) > 0:
		last := len(st.spare) - 1
		c.rest, st.spare = st.spare[last], st.spare[:last]
		c.rest = append(c.rest[:0], data...)
	case len(data) > 0 && cap(c.rest) <= max(maxSpare, 2*len(data)):
		c.rest = append(c.rest[:0], data...) // data may be its end
	case len(data) > 0: // the memory of a long message is not for the next one's beginning
		c.rest = bytes.Clone(data)
	case c.rest != nil:
		if cap(c.rest) <= maxSpare && len(st.spare) < spares {
			st.spare = append(st.spare, c.rest)
		}
		c.rest = nil
	}
}

// end reads all that a connection has sent and closes it. From here on a send
// fails (EPIPE).
func (r *receiver) end(c *connection) {
	c.ending = true
	_ = unix.Shutdown(c.fd, unix.SHUT_RD) // else what follows is the same, but for a sender who goes on
	for range maxDrain {
		if !r.read(c) {
			break
		}
	}
	r.closeConnection(c)
}

// maxDrain is how many reads there can be of what one socket has queued.
const maxDrain = 1 << 12

// closeConnection closes a connection, unless it is closed. What it has sent
// without an end is a message.
func (r *receiver) closeConnection(c *connection) {
	st := r.streams
	if st.open[c.fd] != c {
		return
	}
	if len(c.rest) > 0 && !c.frame.skip {
		r.router.At(time.Now())
		r.handleFrom(c, c.frame.cut(c.rest), false)
	}
	st.held -= len(c.rest)
	st.keep(c, nil)
	st.remove(c)
	delete(st.open, c.fd)
	_ = unix.Close(c.fd) // leaves the epoll by that
}

// drainConnections reads what the connections have sent, whatever the rate is,
// and closes them.
func (r *receiver) drainConnections() {
	for r.streams != nil && r.streams.oldest != nil {
		r.streams.oldest.from = nil
		r.end(r.streams.oldest)
	}
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
