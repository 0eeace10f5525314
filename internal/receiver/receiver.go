package receiver

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

const (
	// maxBatches is how many full batches are read before they are written.
	maxBatches = 8
	// flushTime is how long an ending receiver tries to write what is pending.
	flushTime = 5 * time.Second
	// maxLine is the size in bytes above which the line buffer is not kept.
	maxLine = 64 << 10
	// cutMark ends a message of which the rest did not fit.
	cutMark = " [cut]"
)

// route is an output with the rules that lead to it.
type route struct {
	out   output.Output
	rules []syslogconf.Rule
}

// loadRules reads the rules.
type loadRules func() ([]syslogconf.Rule, error)

// receiver is the state of a running receiver. One goroutine uses it.
type receiver struct {
	// loadRules reads the rules, when there is something to receive.
	loadRules loadRules
	sockets   []*socket
	routes    []route
	problems  []error // of outputs, to be said
	batch     *batch
	epoll     int
	waiter    waiter
	signals   signals
	init      int    // pidfd whose end is ours, or -1
	slash     fileID // this process's root directory at the start
	alone     *aloneWatch
	places    []*place // what is to be removed at the end, in this order
	keeper    *keeper  // nil if the repair is not kept

	host  []byte
	pid   []byte
	self  process
	stamp syslog.Stamp
	line  []byte

	counters
	limits   limits
	compress bool // repeats are left out
	metrics  metrics
	upgrade  *upgrade  // the one that is prepared, or nil
	resumed  *snapshot // what the program before this one has left; nil without one
}

// newReceiver returns a receiver that has nothing open yet.
func newReceiver(o *options, load loadRules) *receiver {
	return &receiver{
		loadRules: load, slash: slash(),
		epoll: -1, signals: signals{pipe: [2]int{-1, -1}}, init: -1,
		counters: counters{started: time.Now()},
		limits:   limits{rate: o.rate, overflow: o.overflow}, compress: o.compress, metrics: metrics{path: o.metrics},
		host: []byte(o.name), pid: strconv.AppendInt(nil, int64(os.Getpid()), 10), self: self(),
	}
}

// openOutputs prepares for receiving.
func (r *receiver) openOutputs() (err error) {
	rules, err := r.loadRules()
	if err != nil {
		return err
	}
	var problems []error
	for _, rule := range rules {
		rule.Path = placeName(rule.Action) // one file, one output
		if route := r.findRoute(rule.Path); route != nil {
			route.rules = append(route.rules, rule)
			continue
		}
		out, problem, err := r.open(rule, string(r.host))
		if err != nil && r.resumed != nil {
			problem, out = err, output.None(rule.Path) // it could be opened a moment ago
		} else if err != nil {
			return err
		}
		if problem != nil {
			problems = append(problems, problem)
		}
		r.routes = append(r.routes, route{r.resume(r.newTap(out, rule.Kind)), []syslogconf.Rule{rule}})
	}
	r.resumeOthers()
	for _, problem := range problems {
		r.say(syslog.Warning, problem.Error()+": its messages are counted as lost")
	}
	if r.batch, err = newBatch(); err == nil {
		r.waiter.rest = r.batch.rest
	}
	return err
}

func (r *receiver) findRoute(path string) *route {
	for i := range r.routes {
		if r.routes[i].out.Name() == path {
			return &r.routes[i]
		}
	}
	return nil
}

// start takes the sockets and other files and waits for their events.
func (r *receiver) start(o *options, files []daemon.File) (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	fresh, err := r.take(files)
	if err != nil {
		return err
	}
	if r.resumed != nil {
		fresh = r.takeOver()
	}
	r.sockets = fresh.sockets
	r.addPlaces(fresh)
	for _, path := range o.listen {
		if r.listensAt(path) { // the program before this one has done that
			continue
		}
		s, err := listen(path)
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
		if err := r.watch(s.fd); err != nil {
			return err
		}
	}
	if r.init >= 0 {
		if err := r.watch(r.init); err != nil {
			return err
		}
	}
	if o.alone {
		r.alone = newAloneWatch(procDir("/proc"), os.Getpid(), o.await)
	}
	if keeps {
		r.startKeeper(fresh.root, o.command)
	}
	return r.catchSignals()
}

func (r *receiver) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("wait for events of descriptor %d: %w", fd, err)
	}
	return nil
}

// loop receives until a signal, the end of the container's first process, or
// being alone ends it, and then drains the sockets.
func (r *receiver) loop() error {
	var events [16]unix.EpollEvent
	r.flush(time.Now())
	r.stepMetrics(time.Now())
	for {
		if r.alone != nil && !r.stepAlone() {
			return r.drain()
		}
		n, err := r.waiter.wait(r.epoll, events[:], r.timeout(time.Now()))
		if err != nil {
			return errors.Join(fmt.Errorf("wait for messages: %w", err), r.drain())
		}
		end := false
		for _, event := range events[:n] {
			switch fd := int(event.Fd); {
			case event.Pad == writable: // flush goes on with it
			case fd == r.signals.pipe[0]:
				end = r.onSignal() || end
			case fd == r.init:
				end = true
			case r.alone != nil && fd == r.alone.fd:
				r.alone.ended()
			case r.keeper != nil && r.keeper.isEvent(fd):
			case r.socketOf(fd) == nil:
				// Closed meanwhile: a child that has yet to execute its program has
				// it as well, which keeps it in the epoll.
			default:
				if err := r.receive(fd, maxBatches); err != nil {
					return errors.Join(err, r.drain())
				}
			}
		}
		if end {
			return r.drain()
		}
		if r.keeper != nil {
			r.stepKeeper(time.Now())
		}
		r.stepLimits(time.Now())
		r.flush(time.Now())
		r.stepMetrics(time.Now())
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
	for _, route := range r.routes {
		earlier(route.out.Next())
	}
	earlier(r.limitsNext())
	earlier(r.metrics.next)
	if r.alone != nil {
		earlier(r.alone.next)
	}
	if r.keeper != nil {
		earlier(r.keeper.next())
	}
	if next.IsZero() {
		return -1
	}
	return int(max(0, (next.Sub(now)+time.Millisecond-1)/time.Millisecond))
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
		n, err := r.batch.receive(fd, want)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive messages: %w", err)
		}
		now := time.Now()
		stamp := r.stamp.Bytes(now)
		for i := range n {
			if raw, cut := r.batch.message(i); r.admit(limited, now) {
				r.handle(raw, cut, stamp)
			}
		}
		read += n
		// Where several were queued more have come meanwhile, mostly.
		if n < 2 && batches > 0 {
			return nil
		}
	}
	return nil
}

// handle passes one received message to the outputs.
func (r *receiver) handle(raw []byte, cut bool, stamp []byte) {
	var m syslog.Message
	syslog.Parse(raw, &m)
	r.received++
	r.bytes += uint64(len(raw))
	mark := ""
	if cut {
		r.cut++
		mark = cutMark
	}
	r.countRouted(r.route(&m, stamp, mark))
}

// route formats a message and adds it to every output with a rule for it, and
// reports whether there is one.
func (r *receiver) route(m *syslog.Message, stamp []byte, mark string) bool {
	var entry output.Message
	for i := range r.routes {
		hit, sync := false, false
		for j := range r.routes[i].rules {
			rule := &r.routes[i].rules[j]
			if rule.Match(m.Facility, m.Severity) {
				hit, sync = true, sync || rule.Sync
			}
		}
		if !hit {
			continue
		}
		if entry.Line == nil {
			line, body := syslog.AppendRFC3164(r.line[:0], stamp, r.host, m)
			if mark != "" {
				line = append(append(line[:len(line)-1], mark...), '\n')
			}
			entry = output.Message{Priority: m.Priority(), Line: line, Body: line[body : len(line)-1]}
			r.line = line
		}
		entry.Sync = sync
		r.routes[i].out.Add(entry)
	}
	return entry.Line != nil
}

// say passes a message by the receiver itself to the outputs.
func (r *receiver) say(s syslog.Severity, text string) {
	m := syslog.Message{Facility: syslog.Syslog, Severity: s, Tag: []byte("devlogd"), PID: r.pid, Text: []byte(text)}
	r.own++
	if len(r.routes) == 0 && r.keeper != nil {
		r.told++
		r.keeper.tell(&m)
		return
	}
	r.countRouted(r.route(&m, r.stamp.Bytes(time.Now()), ""))
}

// notice is output.Notice.
func (r *receiver) notice(dst []byte, text string) []byte {
	m := syslog.Message{Tag: []byte("devlogd"), PID: r.pid, Text: []byte(text)}
	dst, _ = syslog.AppendRFC3164(dst, r.stamp.Bytes(time.Now()), r.host, &m)
	return dst
}
