package receiver

import (
	"cmp"
	"errors"
	"os"
	"strconv"
	"time"

	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/logfile"
	"devlog/internal/lxcexec"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watchdog"
	"devlog/internal/watcher"
)

const (
	// flushTime is how long an ending receiver tries to write what is pending.
	flushTime = 5 * time.Second
)

// loadRules reads the rules.
type loadRules func() ([]syslogconf.Rule, error)

// receiver is the state of a running receiver. One goroutine uses it.
type receiver struct {
	// loadRules reads the rules, when there is something to receive.
	loadRules loadRules
	loop      *eventloop.Loop
	round     *eventloop.Task  // what is done after events
	timer     *eventloop.Timer // for when something is due although nothing happened
	intake    *intake.Intake
	memory    *intake.Memory
	receives  bool // the outputs are open
	sockets   []*socket
	router    router.Router
	logs      string // directory below which no link is followed
	watchdog  *watchdog.Watchdog
	exit      func(error) // ends the program while its main goroutine is stuck
	signals   *eventloop.Signals
	init      int              // pidfd whose end is ours, or -1
	inside    bool             // this process ends with the container, whose init waits for it
	awaits    bool             // SIGTERM came: only the container's end or SIGINT ends this process
	startRoot file.ID          // this process's root directory at the start
	cleanups  []*cleanup       // what is to be removed at the end, in this order
	watcher   *watcher.Watcher // nil if /dev/log is not watched
	lxcExec   *lxcexec.Watch   // nil if this process does not end with LXC's init

	self   process
	hosts  [][]byte      // names of this host that a client may claim
	kernel *kernelSource // nil if the kernel's log is not read
	claims intake.Claims

	counters
	rate        string // in words
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
		loadRules: load, logs: cmp.Or(o.logs, syslogconf.LogsDir), startRoot: file.Root(), init: -1,
		counters: counters{Counts: new(intake.Counts), started: time.Now()}, rate: o.rate.String(), metrics: metrics{path: o.metrics},
		hosts: hostNames(o.name, o.hosts), self: self(),
	}
	r.watchdog = watchdog.New(r.loopElsewhere, r.wakeUp)
	r.router.Options = router.Options{
		Host: []byte(cmp.Or(o.lineHost, o.name)), Container: router.IdentityOf(cmp.Or(o.lineHost, o.name), o.name), PID: strconv.AppendInt(nil, int64(os.Getpid()), 10), Compress: o.compress,
		Watchdog: r.watchdog, Below: r.below, Wake: r.wake, Init: func() int { return r.init }, Resume: r.resume,
	}
	return r
}

// prepare makes what the receiver waits and reads with.
func (r *receiver) prepare(o *options) (err error) {
	if r.loop, err = eventloop.New(); err != nil {
		return err
	}
	r.loop.SetYield(r.watchdog.Yield)
	r.round = eventloop.NewTask(r.afterEvents)
	r.timer = r.loop.NewTimer(func(time.Time) { r.loop.Soon(r.round) })
	if r.store != nil {
		r.memory = r.store.messages()
	} else if r.memory, err = intake.NewMemory(); err != nil {
		return err
	}
	r.loop.SetIdle(r.memory.Rest)
	r.loop.SetShares(logfile.Compressing)
	r.intake = intake.New(r.loop, r.memory, taker{r}, o.rate, o.overflow)
	r.counters.Counts = &r.intake.Counts
	return nil
}

// start takes the sockets and other files and waits for their events.
func (r *receiver) start(o *options, files []handover.File) (err error) {
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
		s, err := intake.Listen(l.path, l.kind, r.intake.Asks())
		if err != nil {
			return err
		}
		r.sockets = append(r.sockets, &socket{Socket: s})
	}
	keeps := fresh.root >= 0 && len(o.command) > 0
	if len(r.sockets) == 0 && !keeps {
		return usageError{errors.New("no socket to receive from: use --listen PATH or socket activation")}
	}
	for _, s := range r.sockets {
		if err := r.intake.Add(s.Socket); err != nil {
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
		if err := r.loop.Add(r.init, func() error { r.loop.Stop(); return nil }); err != nil {
			return err
		}
	}
	if o.alone {
		r.lxcExec = lxcexec.New(o.await)
	}
	if keeps {
		r.startWatcher(fresh.root, o.command, o.private)
	}
	return nil
}

// watch has the descriptor of what watches LXC's init waited for.
func (r *receiver) watch(fd int) error {
	return r.loop.Add(fd, func() error {
		r.lxcExec.Event(fd)
		r.loop.Soon(r.round)
		return nil
	})
}

// run receives until a signal, the end of the container's first process, or being
// alone ends it, and then drains the sockets. It can be run by another goroutine while
// a flush hangs: see package watchdog.
func (r *receiver) run() error {
	r.loop.Soon(r.round)
	switch err := r.loop.Run(); {
	case errors.Is(err, eventloop.ErrYielded):
		return err
	case err != nil:
		return r.fail(err)
	}
	return r.drain()
}

// loopElsewhere runs the loop while the main goroutine is stuck in a write.
func (r *receiver) loopElsewhere() {
	err := r.run()
	if errors.Is(err, eventloop.ErrYielded) {
		return
	}
	r.close()
	r.exit(err)
}

// afterEvents does what follows from the events of a round.
func (r *receiver) afterEvents() {
	now := r.loop.Now()
	if r.watcher != nil {
		r.watcher.Step(now)
	}
	r.watchdog.Top(true)
	r.Flush(now)
	r.watchdog.Top(false)
	r.stepMetrics(now)
	r.stepStore()
	if r.router.Hangs() {
		r.signals.Fetch()
	}
	if r.stepUpgrade() || r.lxcExec.Step(now, r.watch) {
		r.loop.Stop()
	}
	r.timer.Set(r.next())
}

// next is when something is due although nothing happens; zero for never.
func (r *receiver) next() (next time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(r.router.Next())
	earlier(r.metrics.next)
	earlier(r.lxcExec.Next())
	if r.watcher != nil {
		earlier(r.watcher.Next())
	}
	return next
}

// taker is the receiver as its intake sees it.
type taker struct{ *receiver }

// Take passes one received message to the outputs.
func (t taker) Take(raw []byte, cut bool, from syslog.Sender, now time.Time) {
	t.router.At(now)
	t.handle(raw, cut, from)
}

func (t taker) Done() { t.loop.Soon(t.round) }

func (t taker) Say(s syslog.Severity, text string) {
	t.say(s, text)
	t.loop.Soon(t.round)
}

// handle passes one received message to the outputs.
func (r *receiver) handle(raw []byte, cut bool, from syslog.Sender) {
	var m syslog.Message
	syslog.Parse(raw, &m, r.hosts...)
	if from.Known {
		from.Differs = r.claims.Differ(&m, from.PID, r.router.Now().Unix())
	}
	router.Disown(&m)
	m.Cut, m.Sender = cut, from
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
