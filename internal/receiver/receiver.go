package receiver

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watchdog"
	"devlog/internal/watcher"
)

const (
	// maxBatches is how many full batches are read before they are written.
	maxBatches = 8
	// flushTime is how long an ending receiver tries to write what is pending.
	flushTime = 5 * time.Second
)

// loadRules reads the rules.
type loadRules func() ([]syslogconf.Rule, error)

// receiver is the state of a running receiver. One goroutine uses it.
type receiver struct {
	// loadRules reads the rules, when there is something to receive.
	loadRules loadRules
	sockets   []*socket
	router    router.Router
	logs      string // directory below which no link is followed
	batch     *batch
	watchdog  *watchdog.Watchdog
	exit      func(error) // ends the program while its main goroutine is stuck
	epoll     int
	waiter    waiter
	signals   signals
	init      int              // pidfd whose end is ours, or -1
	inside    bool             // this process ends with the container, whose init waits for it
	awaits    bool             // SIGTERM came: only the container's end or SIGINT ends this process
	startRoot file.ID          // this process's root directory at the start
	cleanups  []*cleanup       // what is to be removed at the end, in this order
	watcher   *watcher.Watcher // nil if /dev/log is not watched
	lxcExec   *watcher.LXCExec // nil if this process does not end with LXC's init

	self  process
	hosts [][]byte // names of this host that a client may claim
	// streams is what there is beside datagram sockets; nil without.
	streams *streams
	kernel  *kernelSource // nil if the kernel's log is not read
	sender  bool          // who sent a message is asked for
	senders senders

	counters
	limits      limits
	metrics     metrics
	upgrade     *upgrade              // the one that is prepared, or nil
	sandbox     *handover.Confinement // nil until confine was called
	resumed     *handover.Description // what the program before this one has left; nil without one
	store       *store                // what outlives this process; nil if nothing does
	previousIDs []process             // that this receiver was before it was killed

	// rereadRules reads the rules again, on SIGHUP; nil if that is not to be done.
	rereadRules loadRules
}

// newReceiver returns a receiver that has nothing open yet.
func newReceiver(o *options, load loadRules) *receiver {
	r := &receiver{
		loadRules: load, logs: cmp.Or(o.logs, syslogconf.LogsDir), startRoot: file.Root(),
		epoll: -1, signals: signals{pipe: [2]int{-1, -1}}, init: -1,
		counters: counters{started: time.Now()},
		limits:   limits{rate: o.rate, overflow: o.overflow}, metrics: metrics{path: o.metrics},
		hosts: hostNames(o.name, o.hosts), self: self(),
	}
	r.watchdog = watchdog.New(r.loopElsewhere, r.signals.wake)
	r.router.Options = router.Options{
		Host: []byte(cmp.Or(o.lineHost, o.name)), Container: router.IdentityOf(cmp.Or(o.lineHost, o.name), o.name), PID: strconv.AppendInt(nil, int64(os.Getpid()), 10), Compress: o.compress,
		Watchdog: r.watchdog, Below: r.below, Wake: r.wake, Init: func() int { return r.init }, Resume: r.resume,
	}
	return r
}

// start takes the sockets and other files and waits for their events.
func (r *receiver) start(o *options, files []handover.File) (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	// Before anybody can send something that a signal would cost. It takes the
	// runtime, which changes threads twice for each signal, a sixth of the start.
	if err := r.catchSignals(); err != nil {
		return err
	}
	given := r.resumed
	if given == nil {
		if given, err = handover.Describe(files); err != nil {
			return err
		}
	}
	fresh, err := r.inherit(given)
	if err != nil {
		return err
	}
	r.sockets = fresh.sockets
	r.addCleanups(fresh)
	r.replay()
	for _, l := range o.listen {
		if r.listensAt(l.path) { // the program before this one has done that
			continue
		}
		s, err := listen(l.path, l.kind)
		if err != nil {
			return err
		}
		r.sockets = append(r.sockets, s)
	}
	keeps := fresh.root >= 0 && len(o.command) > 0
	if len(r.sockets) == 0 && !keeps {
		return usageError{errors.New("no socket to receive from: use --listen PATH or socket activation")}
	}
	for _, s := range r.sockets {
		if err := r.watchSocket(s); err != nil {
			return err
		}
	}
	if r.resumed != nil {
		if err := r.resumeConnections(); err != nil {
			return err
		}
	}
	if o.kernel && r.kernel == nil {
		if err := r.openKernel(); err != nil {
			return err
		}
	}
	if r.init >= 0 {
		if err := r.watch(r.init); err != nil {
			return err
		}
	}
	if o.alone {
		r.lxcExec = watcher.NewLXCExec(o.await)
	}
	if keeps {
		r.startWatcher(fresh.root, o.command, o.private)
	}
	return nil
}

func (r *receiver) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("wait for events of descriptor %d: %w", fd, err)
	}
	return nil
}

// errYielded is that another goroutine runs the loop.
var errYielded = errors.New("yielded")

// loopElsewhere runs the loop while the main goroutine is stuck in a write.
func (r *receiver) loopElsewhere() {
	err := r.loop()
	if errors.Is(err, errYielded) {
		return
	}
	r.close()
	r.exit(err)
}

// loop receives until a signal, the end of the container's first process, or
// being alone ends it, and then drains the sockets. It can be run from its top by
// another goroutine when a flush hangs: see package watchdog.
func (r *receiver) loop() error {
	var events [16]unix.EpollEvent
	r.stepMetrics(time.Now())
	for {
		if r.watchdog.Yield() {
			return errYielded
		}
		if r.router.Hangs() {
			r.signals.fetch()
		}
		if r.lxcExec.Step(time.Now(), r.watch) {
			return r.drain()
		}
		n, err := r.waiter.wait(r.epoll, events[:], r.timeout(time.Now()))
		if err != nil {
			return r.fail(fmt.Errorf("wait for messages: %w", err))
		}
		end := false
		for _, event := range events[:n] {
			switch fd := int(event.Fd); {
			case event.Pad == writable: // flush goes on with it
			case fd == r.signals.pipe[0]:
				end = r.onSignal() || end
			case fd == r.init:
				end = true
			case r.lxcExec.Event(fd):
			case r.watcher != nil && r.watcher.Event(fd):
			default:
				if err := r.readable(fd); err != nil {
					return r.fail(err)
				}
			}
		}
		if end {
			return r.drain()
		}
		now := time.Now()
		r.stepStreams(now)
		if r.watcher != nil {
			r.watcher.Step(now)
		}
		r.stepLimits(now)
		r.watchdog.Top(true)
		r.flush(now)
		r.watchdog.Top(false)
		r.stepMetrics(now)
		r.stepStore()
		if r.stepUpgrade() {
			return r.drain()
		}
	}
}

// timeout is the time in milliseconds until something is due, -1 for never.
func (r *receiver) timeout(now time.Time) int {
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(r.router.Next())
	earlier(r.limitsNext())
	earlier(r.metrics.next)
	earlier(r.lxcExec.Next())
	if r.watcher != nil {
		earlier(r.watcher.Next())
	}
	if r.streams != nil {
		earlier(r.streams.resumeAt)
	}
	if next.IsZero() {
		return -1
	}
	// epoll_wait(2) takes an int of 32 bits: it is asked again after that.
	return int(min(max(0, (next.Sub(now)+time.Millisecond-1)/time.Millisecond), math.MaxInt32))
}

// receive reads at most this many batches from a socket, -1 for all there is
// whatever the limits are.
func (r *receiver) receive(fd, batches int) error {
	var limited *socket
	if batches > 0 {
		limited = r.socketOf(fd)
	}
	read := 0
	defer func() { r.highWater = max(r.highWater, uint64(read)) }()
	for ; batches != 0; batches-- {
		want := r.allows(limited, time.Now())
		if want == 0 {
			return nil
		}
		if r.store != nil && r.batch.held > 0 {
			r.flush(time.Now()) // it is what is kept for the next program
		}
		n, err := r.batch.receive(fd, want)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return receiveError(err)
		}
		r.handleBatch(n, limited)
		read += n
		// Where several were queued more have come meanwhile, mostly.
		if n < 2 && batches > 0 {
			return nil
		}
	}
	return nil
}

func receiveError(err error) error { return fmt.Errorf("receive messages: %w", err) }

// handleBatch passes the n messages of the batch to the outputs.
func (r *receiver) handleBatch(n int, limited *socket) {
	now := time.Now()
	r.router.At(now)
	for i := range n {
		if raw, cut := r.batch.message(i); r.admit(limited, now) {
			r.handle(raw, cut, r.batch.sender(i))
		}
	}
}

// handle passes one received message to the outputs.
func (r *receiver) handle(raw []byte, cut bool, from syslog.Sender) {
	var m syslog.Message
	syslog.Parse(raw, &m, r.hosts...)
	if from.Known {
		from.Differs = r.senders.differs(&m, from.PID, r.router.Now().Unix())
	}
	router.Disown(&m)
	m.Cut, m.Sender = cut, from
	r.received++
	r.bytes += uint64(len(raw))
	if cut {
		r.cut++
	}
	r.countRouted(r.router.Pass(&m))
}

// say passes a message by the receiver itself to the outputs.
func (r *receiver) say(s syslog.Severity, text string) {
	m := r.router.Own(s, text)
	r.own++
	if len(r.router.Routes) == 0 && r.watcher != nil {
		// A daemon that is down is why there is something to say, mostly.
		if r.watcher.Tell(&m) || s <= syslog.Warning && r.tellKernel(text) {
			r.told++
		} else {
			r.unrouted++
		}
		return
	}
	r.router.At(time.Now())
	r.countRouted(r.router.Pass(&m))
}
