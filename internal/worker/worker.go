// Package worker owns the process that reads messages for a host's node, as the node sees it: it
// starts the process, sends it orders, kills it if it hangs, and starts the next one when it has
// ended. What the process does is in package reader.
package worker

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
	"devlog/internal/syslog"
)

const (
	// readyTime is how long a process may take to start.
	readyTime = 20 * time.Second
	// answerTime is how long an order may take. A receiver that ends needs up to five seconds.
	answerTime = 10 * time.Second
	// maxOrders is how many orders may be without a result. More would fill the connection in
	// both directions.
	maxOrders = 64
	// firstDelay and lastDelay are the shortest and longest time between the start of a process
	// and of the next.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// Config is the configuration of a Worker. The functions run in the loop.
type Config struct {
	Loop *eventloop.Loop
	// Program and Args start a process.
	Program string
	Args    []string
	// Files are open in each process. The Worker does not close them.
	Files []handover.Passed
	// Log reports something to the administrator.
	Log func(severity syslog.Severity, text string)
	// Replaced is called when a process other than the first is ready: it knows no containers yet.
	// Waiting orders to add, receive, retire and end then fail with ErrGone, because Replaced has
	// given them again.
	Replaced func()
	// Failed is called when a process cannot be started. The next attempt follows.
	Failed func(error)
	// Ended is called when a process has ended.
	Ended func()
	// Lost is called when the receiver of the container cannot receive any more.
	Lost func(id uint64)
}

// Worker is one process at a time. Only its loop's goroutine uses it.
type Worker struct {
	Config
	conn     int       // the connection to the process; -1 while it is not ready
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

// ErrGone means that the process ended before it carried out an order.
var ErrGone = errors.New("the process that reads messages has ended")

// Start starts the first process, and waits until it is ready.
func Start(c Config) (*Worker, error) {
	w := &Worker{Config: c, conn: -1, results: map[uint64]func(nodecall.Result, error){}}
	w.again, w.hung = w.Loop.NewTimer(w.restart), w.Loop.NewTimer(w.endHung)
	if err := w.begin(); err != nil {
		return nil, err
	}
	if err := w.ready(readyTime); err != nil {
		return nil, err
	}
	return w, nil
}

// Ready returns whether a process takes orders now. Otherwise they wait for the next one.
func (w *Worker) Ready() bool { return w.conn >= 0 }

// begin starts a process, which is not ready yet.
func (w *Worker) begin() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot connect to a reader: %w", err)
	}
	_ = unix.SetNonblock(pair[0], true) // a stopped reader must not block this process
	theirs := os.NewFile(uintptr(pair[1]), nodecall.NameOrders)
	defer theirs.Close()
	w.started = time.Now()
	b, err := daemon.Begin(daemon.Spec{
		Path: w.Program, Args: w.Args, Env: daemon.Env("TZ", "JOURNAL_STREAM", notify.Variable), Stderr: os.Stderr,
		Files: append([]handover.Passed{{File: theirs, Name: nodecall.NameOrders}}, w.Files...),
	})
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	w.starting, w.pid = &starting{b, pair[0]}, b.PID
	return nil
}

// ready waits up to limit until the process is ready, and completes its start.
func (w *Worker) ready(limit time.Duration) error {
	s := w.starting
	w.starting = nil
	_ = w.Loop.Remove(s.Ready) // no effect for the first process, which the loop never watched
	err := s.Await(limit)
	if err == nil {
		if w.handle, err = pidfd.Open(s.PID); err == nil {
			err = w.Loop.Add(int(w.handle.Fd()), w.ended)
		}
		if err == nil {
			err = w.Loop.Add(s.conn, w.take)
		}
		if err != nil {
			w.closeHandle()
			_, _ = daemon.End(s.PID)
		}
	}
	if err != nil {
		unix.Close(s.conn)
		w.pid = 0
		return err
	}
	w.conn = s.conn
	return nil
}

// restart starts the next process. Hooks that come meanwhile wait for it.
func (w *Worker) restart(time.Time) {
	err := w.begin()
	if err == nil {
		w.hung.Set(w.started.Add(readyTime))
		if err = w.Loop.Add(w.starting.Ready, func() { w.restarted(w.ready(0)) }); err != nil {
			err = errors.Join(err, w.ready(0))
		}
	}
	if err != nil {
		w.failed(err)
	}
}

// restarted continues with the new process, or reports why it did not start.
func (w *Worker) restarted(err error) {
	if err != nil {
		w.failed(err)
		return
	}
	w.progress()
	waiting := w.queue
	w.queue = nil
	w.Replaced()
	for _, o := range waiting {
		switch o.Operation {
		case nodecall.Add, nodecall.Receive, nodecall.Retire, nodecall.End: // Replaced gave them again
			handover.ClosePassed(o.files)
			o.result(nodecall.Result{}, ErrGone)
		default:
			w.queue = append(w.queue, o)
		}
	}
	w.send()
}

// failed reports that the process cannot be started.
func (w *Worker) failed(err error) {
	w.progress()
	w.Log(syslog.Err, "cannot start the process that reads messages: "+err.Error())
	w.Failed(err)
	w.later()
}

// later schedules the start of the next process.
func (w *Worker) later() {
	if time.Since(w.started) > lastDelay {
		w.delay = 0
	}
	w.delay = min(max(2*w.delay, firstDelay), lastDelay)
	w.again.Set(time.Now().Add(w.delay))
}

// closeHandle closes the process's handle, if it is open.
func (w *Worker) closeHandle() {
	if w.handle != nil {
		_ = w.Loop.Remove(int(w.handle.Fd()))
		_ = w.handle.Close()
		w.handle = nil
	}
}

// ended cleans up after the process.
func (w *Worker) ended() {
	w.closeHandle()
	how, _ := daemon.Reap(w.pid)
	w.take() // its last results
	_ = w.Loop.Remove(w.conn)
	_ = unix.Close(w.conn)
	w.conn, w.pid = -1, 0
	results := w.results
	w.results = map[uint64]func(nodecall.Result, error){}
	w.progress()
	for _, result := range results {
		result(nodecall.Result{}, ErrGone)
	}
	w.Log(syslog.Warning, "the process that reads messages has ended ("+how+"): starting it again")
	w.Ended()
	w.later()
}

// Order sends the process an order, or queues it. It closes the files. result may be nil.
func (w *Worker) Order(o nodecall.Order, files []handover.Passed, result func(nodecall.Result, error)) {
	if result == nil {
		result = func(nodecall.Result, error) {}
	}
	w.number++
	o.Number = w.number
	w.queue = append(w.queue, order{o, files, result})
	w.send()
}

// send sends what is queued.
func (w *Worker) send() {
	for len(w.queue) > 0 && len(w.results) < maxOrders && w.conn >= 0 {
		next := w.queue[0]
		err := nodecall.SendOrder(w.conn, next.Order, next.files)
		if errors.Is(err, unix.EAGAIN) { // take continues with the next result
			return
		}
		w.queue = w.queue[1:]
		handover.ClosePassed(next.files)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.ENOTCONN) {
			err = ErrGone
		}
		if err != nil {
			next.result(nodecall.Result{}, err)
			continue
		}
		if w.results[next.Number] = next.result; len(w.results) == 1 {
			w.progress()
		}
	}
}

// progress gives the process answerTime for its next result, if an order waits for one.
func (w *Worker) progress() {
	var until time.Time
	if len(w.results) > 0 {
		until = time.Now().Add(answerTime)
	}
	w.hung.Set(until)
}

// endHung kills a process that is not ready in time or does not answer. The next one gets the
// sockets.
func (w *Worker) endHung(time.Time) {
	if w.starting != nil {
		w.Log(syslog.Warning, fmt.Sprintf("the process that reads messages was not ready after %s: killed", readyTime))
		_ = unix.Kill(w.pid, unix.SIGKILL) // not reaped yet, so its ID is its own
		return
	}
	w.Log(syslog.Warning, "the process that reads messages does not answer: killed")
	w.kill()
}

// kill ends the process, if it has not ended.
func (w *Worker) kill() {
	if w.handle != nil {
		_ = unix.PidfdSendSignal(int(w.handle.Fd()), unix.SIGKILL, nil, 0) // it may have ended
	}
}

// resultText is what results are read into: most touch one page of it.
var resultText [64 << 10]byte

// take reads results, and passes each to the order's function. It reads as many as orders can wait for:
// a process that was taken over may send more without end, but the loop has other work too.
func (w *Worker) take() {
	text := resultText[:]
	for range maxOrders {
		n, _, err := unix.Recvfrom(w.conn, text, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 && err == nil { // a process that closes its connection may not keep running; ended cleans up
			_ = w.Loop.Remove(w.conn)
			w.kill()
			return
		}
		if err != nil { // EAGAIN, or its end
			return
		}
		var result nodecall.Result
		if err := json.Unmarshal(text[:n], &result); err != nil {
			continue // it may be compromised
		}
		if result.Number == 0 {
			w.Lost(result.ID)
		}
		done := w.results[result.Number]
		delete(w.results, result.Number)
		if done == nil {
			continue
		}
		w.progress()
		err = nil
		if result.Error != "" {
			err = errors.New(result.Error)
		}
		done(result, err)
		w.send()
	}
}

// Leave ends the process, which first writes what it has received.
func (w *Worker) Leave(deadline time.Time) {
	if w.conn < 0 {
		return
	}
	_ = unix.Shutdown(w.conn, unix.SHUT_WR)
	_ = handover.Poll(time.Until(deadline), int(w.handle.Fd()))
}
