package receiver

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/output"
)

// Messages that follow each other closely at the only socket are waited for in
// recvmmsg(2) itself. That saves a system call a batch, and its senders more: for
// each message they would have to look after an epoll(7) that nobody waits for.
// All else that may happen waits for a few milliseconds meanwhile.

const (
	// directAfter is how many events in a row that are the socket's, with less
	// than directGap between two, have it waited for directly.
	directAfter = 16
	directGap   = 2 * time.Millisecond
	// directWait is how long the socket is waited for, and how often all else is
	// looked at.
	directWait = 5 * time.Millisecond
)

// direct is the socket that is waited for directly.
type direct struct {
	socket *socket // it is not in the epoll; nil if there is none
	row    int     // events in a row, see directAfter
	last   time.Time
	looked time.Time // when all else was last looked at
}

// next waits for events of the epoll, and returns how many there are. Messages of a socket
// that is waited for directly have been received then.
func (r *receiver) next(events []unix.EpollEvent, now time.Time) (int, error) {
	if r.direct.socket == nil {
		return r.waiter.wait(r.epoll, events, r.timeout(now))
	}
	if !r.mayWaitDirectly() {
		return 0, r.endDirect()
	}
	if err := r.receiveDirect(); err != nil {
		return 0, err
	}
	if now := time.Now(); r.direct.socket != nil && now.Sub(r.direct.looked) >= directWait {
		r.direct.looked = now
		n, err := epollWaitRaw(r.epoll, events, 0)
		return n, ignoreEINTR(err)
	}
	return 0, nil
}

// receiveDirect waits for messages of the socket, and receives them. If there are
// none the epoll is to tell of the next ones.
func (r *receiver) receiveDirect() error {
	n, err := r.batch.await(r.direct.socket.fd)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return r.endDirect()
	case errors.Is(err, unix.EINTR):
		keepThread() // it may be another one than before
		return r.endDirect()
	case err != nil:
		return receiveError(err)
	}
	r.handleBatch(n, nil)
	r.highWater = max(r.highWater, uint64(n))
	return nil
}

// mayWaitDirectly reports whether nothing is to be waited for that cannot wait
// itself for a moment.
func (r *receiver) mayWaitDirectly() bool {
	return len(r.sockets) == 1 && (r.direct.socket == nil || r.sockets[0] == r.direct.socket) && !r.sockets[0].stream &&
		r.batch != nil && r.kernel == nil && r.limits.rate.N == 0 && !output.Compressing()
}

// noteEvents takes note of what was waited for, and begins to wait directly.
func (r *receiver) noteEvents(events []unix.EpollEvent, now time.Time) {
	d := &r.direct
	if d.socket != nil || len(events) == 0 {
		return
	}
	gap := now.Sub(d.last)
	d.last = now
	if len(events) > 1 || gap > directGap || !r.mayWaitDirectly() || int(events[0].Fd) != r.sockets[0].fd {
		d.row = 0
		return
	}
	if d.row++; d.row < directAfter {
		return
	}
	d.row = 0
	s := r.sockets[0]
	flags, err := unix.FcntlInt(uintptr(s.fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		return // whoever has passed it wants it so
	}
	wait := unix.NsecToTimeval(int64(directWait))
	if unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait) != nil ||
		unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, s.fd, nil) != nil {
		return
	}
	d.socket, d.looked = s, now
}

// endDirect has the epoll tell of the socket again, if it is still received from.
func (r *receiver) endDirect() error {
	s := r.direct.socket
	r.direct.socket = nil
	if slices.Contains(r.sockets, s) {
		return r.watch(s.fd)
	}
	return nil
}
