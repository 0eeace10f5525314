package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/notify"
	"devlog/internal/pidfd"
	"devlog/internal/reader"
	"devlog/internal/syslog"
)

const (
	// readyTime is how long a reader may take to start.
	readyTime = 20 * time.Second
	// answerTime is how long an order may take. A receiver that ends needs up to five seconds.
	answerTime = 10 * time.Second
	// maxOrders is how many orders may be without a result. More would fill the connection in
	// both directions.
	maxOrders = 64
	// firstDelay and lastDelay are the shortest and longest time between the start of a reader
	// and of the next.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// child is the process that reads messages (package reader).
type child struct {
	node     *Node
	batch    int       // memory that outlives it
	conn     int       // the connection to it; -1 while it is not ready
	starting *starting // nil unless one starts
	handle   *os.File  // its pidfd; nil without a process
	pid      int       // its process
	started  time.Time
	delay    time.Duration
	again    *eventloop.Timer // to start the next
	hung     *eventloop.Timer // to end it if it is not ready, or has no result
	number   uint64           // of the last order
	results  map[uint64]func(nodecall.Result, error)
	queue    []order
}

// starting is a process that is not ready yet.
type starting struct {
	*daemon.Starting
	conn int // the connection to it
}

// order is an order that waits to be sent.
type order struct {
	nodecall.Order
	files  []handover.Passed
	result func(nodecall.Result, error)
}

// errGone means that the reader ended before it carried out an order.
var errGone = errors.New("the process that reads messages has ended")

// start starts the first process, and waits until it is ready.
func (r *child) start() error {
	r.again, r.hung = r.node.Process.Loop.NewTimer(r.restart), r.node.Process.Loop.NewTimer(r.endHung)
	r.results = map[uint64]func(nodecall.Result, error){}
	if err := r.begin(); err != nil {
		return err
	}
	return r.ready(readyTime)
}

// begin starts a process, which is not ready yet.
func (r *child) begin() (err error) {
	if r.batch < 0 {
		if r.batch, err = reader.MakeKept(); err == nil {
			err = notify.Keep(reader.NameBatch, r.batch)
		}
		if err != nil {
			return err
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot connect to a reader: %w", err)
	}
	_ = unix.SetNonblock(pair[0], true) // a reader that is stopped reads nothing
	theirs := os.NewFile(uintptr(pair[1]), reader.NameConn)
	defer theirs.Close()
	batch, err := unix.FcntlInt(uintptr(r.batch), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(pair[0])
		return fmt.Errorf("cannot pass memory to a reader: %w", err)
	}
	memory := os.NewFile(uintptr(batch), reader.NameBatch)
	defer memory.Close()
	r.started = time.Now()
	files := []handover.Passed{{File: theirs, Name: reader.NameConn}, {File: memory, Name: reader.NameBatch}}
	if r.node.lock != nil {
		files = append(files, handover.Passed{File: r.node.lock, Name: "lock"}) // until it ends
	}
	b, err := daemon.Begin(daemon.Spec{
		Path: r.node.Program, Args: r.node.ReaderArgs, Env: daemon.Env("TZ", "JOURNAL_STREAM", notify.Variable), Stderr: os.Stderr,
		Files: files,
	})
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	r.starting, r.pid = &starting{b, pair[0]}, b.PID
	return nil
}

// ready waits up to limit until the process is ready, and completes its start.
func (r *child) ready(limit time.Duration) error {
	s := r.starting
	r.starting = nil
	_ = r.node.Process.Loop.Remove(s.Ready) // the loop does not have the first one
	err := s.Await(limit)
	if err == nil {
		if r.handle, err = pidfd.Open(s.PID); err == nil {
			err = r.node.Process.Loop.Add(int(r.handle.Fd()), r.ended)
		}
		if err == nil {
			err = r.node.Process.Loop.Add(s.conn, r.take)
		}
		if err != nil {
			r.closeHandle()
			_, _ = daemon.End(s.PID)
		}
	}
	if err != nil {
		unix.Close(s.conn)
		r.pid = 0
		return err
	}
	r.conn = s.conn
	return nil
}

// restart starts the next process. Hooks that come meanwhile wait for it.
func (r *child) restart(time.Time) {
	err := r.begin()
	if err == nil {
		r.hung.Set(r.started.Add(readyTime))
		if err = r.node.Process.Loop.Add(r.starting.Ready, func() { r.restarted(r.ready(0)) }); err != nil {
			err = errors.Join(err, r.ready(0))
		}
	}
	if err != nil {
		r.failed(err)
	}
}

// restarted gives all containers to the new process, or reports why it did not start.
func (r *child) restarted(err error) {
	if err != nil {
		r.failed(err)
		return
	}
	r.progress()
	waiting := r.queue
	r.queue = nil
	for _, c := range r.node.containers {
		if err := c.read(); err != nil {
			r.node.Log(syslog.Err, "cannot receive: "+err.Error())
			c.fail(err)
		}
		if c.ends {
			c.drain()
		}
	}
	for _, o := range waiting {
		switch o.Operation {
		case nodecall.Add, nodecall.Receive, nodecall.Retire, nodecall.End: // done above
			closePassed(o.files)
			o.result(nodecall.Result{}, errGone)
		default:
			r.queue = append(r.queue, o)
		}
	}
	r.send()
}

// failed reports that the process cannot be started, also to the hooks that wait for it.
func (r *child) failed(err error) {
	r.progress()
	r.node.Log(syslog.Err, "cannot start the process that reads messages: "+err.Error())
	for _, c := range r.node.containers {
		c.fail(err)
	}
	r.later()
}

// later schedules the start of the next process.
func (r *child) later() {
	if time.Since(r.started) > lastDelay {
		r.delay = 0
	}
	r.delay = min(max(2*r.delay, firstDelay), lastDelay)
	r.again.Set(time.Now().Add(r.delay))
}

// closeHandle closes the process's handle, if it is open.
func (r *child) closeHandle() {
	if r.handle != nil {
		_ = r.node.Process.Loop.Remove(int(r.handle.Fd()))
		_ = r.handle.Close()
		r.handle = nil
	}
}

// ended cleans up after the process.
func (r *child) ended() {
	r.closeHandle()
	how, _ := daemon.Reap(r.pid)
	r.take() // its last results
	_ = r.node.Process.Loop.Remove(r.conn)
	_ = unix.Close(r.conn)
	r.conn, r.pid = -1, 0
	results := r.results
	r.results = map[uint64]func(nodecall.Result, error){}
	r.progress()
	for _, result := range results {
		result(nodecall.Result{}, errGone)
	}
	r.node.Log(syslog.Warning, "the process that reads messages has ended ("+how+"): restarted")
	for _, c := range r.node.containers {
		c.reading = false
	}
	r.later()
}

// order sends the process an order, or queues it. It closes the files. result may be nil.
func (r *child) order(o nodecall.Order, files []handover.Passed, result func(nodecall.Result, error)) {
	if result == nil {
		result = func(nodecall.Result, error) {}
	}
	r.number++
	o.Number = r.number
	r.queue = append(r.queue, order{o, files, result})
	r.send()
}

// send sends what is queued.
func (r *child) send() {
	for len(r.queue) > 0 && len(r.results) < maxOrders && r.conn >= 0 {
		next := r.queue[0]
		err := nodecall.SendOrder(r.conn, next.Order, next.files)
		if errors.Is(err, unix.EAGAIN) { // take continues with the next result
			return
		}
		r.queue = r.queue[1:]
		closePassed(next.files)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.ENOTCONN) {
			err = errGone
		}
		if err != nil {
			next.result(nodecall.Result{}, err)
			continue
		}
		if r.results[next.Number] = next.result; len(r.results) == 1 {
			r.progress()
		}
	}
}

// progress gives the process answerTime for its next result, if an order waits for one.
func (r *child) progress() {
	var until time.Time
	if len(r.results) > 0 {
		until = time.Now().Add(answerTime)
	}
	r.hung.Set(until)
}

// endHung kills a process that is not ready in time or does not answer. The next one gets the
// sockets.
func (r *child) endHung(time.Time) {
	if r.starting != nil {
		r.node.Log(syslog.Warning, fmt.Sprintf("the process that reads messages was not ready after %s: killed", readyTime))
		_ = unix.Kill(r.pid, unix.SIGKILL) // not reaped yet, so its ID is its own
		return
	}
	r.node.Log(syslog.Warning, "the process that reads messages does not answer: killed")
	r.kill()
}

// kill ends the process, if it has not ended.
func (r *child) kill() {
	if r.handle != nil {
		_ = unix.PidfdSendSignal(int(r.handle.Fd()), unix.SIGKILL, nil, 0) // it may have ended
	}
}

func closePassed(files []handover.Passed) {
	for _, f := range files {
		_ = f.File.Close()
	}
}

// resultText is what results are read into: most touch one page of it.
var resultText [64 << 10]byte

// take reads results, and passes each to the order's function.
func (r *child) take() {
	text := resultText[:]
	for {
		n, _, err := unix.Recvfrom(r.conn, text, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 && err == nil { // it must not close the connection and go on; ended does the rest
			_ = r.node.Process.Loop.Remove(r.conn)
			r.kill()
			return
		}
		if err != nil { // EAGAIN, or its end
			return
		}
		var result nodecall.Result
		if err := json.Unmarshal(text[:n], &result); err != nil {
			continue // it may be compromised
		}
		if c := r.node.containers[result.ID]; result.Number == 0 && c != nil { // its receiver has ended
			c.end()
		}
		done := r.results[result.Number]
		delete(r.results, result.Number)
		if done == nil {
			continue
		}
		r.progress()
		err = nil
		if result.Error != "" {
			err = errors.New(result.Error)
		}
		done(result, err)
		r.send()
	}
}

// leave ends the process, which first writes what it has received.
func (r *child) leave(deadline time.Time) {
	if r.conn < 0 {
		return
	}
	_ = unix.Shutdown(r.conn, unix.SHUT_WR)
	_ = handover.Poll(time.Until(deadline), int(r.handle.Fd()))
}
