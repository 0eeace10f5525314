// Package receiver owns the receiver of one container: it reads what local programs send to
// their syslog sockets, and writes it to outputs according to rules.
//
// A Receiver has no goroutine, no globals and no event loop of its own: it uses the loop of
// its Process, which may have many Receivers. Only the loop's goroutine uses it. The order of
// calls is New, Resume (to continue for another program), OpenOutputs, Take and Start. Then the
// loop calls it, until End, Rest and Close.
package receiver

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"devlog/internal/cleanup"
	"devlog/internal/counters"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/kmsg"
	"devlog/internal/process"
	"devlog/internal/record"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watcher"
)

// Config is the configuration of a receiver.
type Config struct {
	Owner Owner
	// Name is the container's name. LineHost is its name in lines, and ContainerName its name
	// for the host's daemons, if they differ. Hosts are the names by which clients may call
	// their host.
	Name, LineHost, ContainerName string
	Hosts                         [][]byte
	// Rules reads the rules, when the outputs are opened and for each Reload. It is nil for a
	// receiver without rules.
	Rules    func() ([]syslogconf.Rule, error)
	Listen   []Listen // besides the sockets that are handed over
	Kernel   bool     // read the kernel's log too
	Limit    Limit
	Compress bool   // leave out repeats
	Metrics  string // the metrics file; empty for none
	// Logs is the directory below which no links are followed; empty for syslogconf.LogsDir.
	Logs   string
	Inside bool // the process is in the container's namespaces, and ends with it
	Repair Repair
	Node   Node
}

// Node is what only a receiver of a host's node has.
type Node struct {
	// Number distinguishes it from others of the process; see batch.Marks.
	Number uint64
	// Reader is another process that reads from the sockets. Then the receiver only keeps
	// them, and their names, for it. It is nil if the receiver itself reads.
	Reader Reader
	// KernelLog returns the open kernel's log for outputs, -1 to open it; nil for always -1.
	KernelLog func() int
	// Around calls the function, which looks at files of the container; nil to call it directly.
	Around func(func())
}

// Reader reads from sockets that a receiver keeps.
type Reader interface {
	// Read begins to read from the socket. journal says that it is for the journal's entries.
	Read(socket int, journal bool) error
	// Retire reads what the socket has queued, and closes it.
	Retire(socket int)
	// Say logs a message of the receiver's.
	Say(severity syslog.Severity, text string)
}

// Listen is a path to listen at.
type Listen struct {
	Path string
	Kind int // unix.SOCK_*
}

// Limit limits what is read from each socket.
type Limit struct {
	Rate     syslogconf.Rate
	Overflow syslogconf.Overflow
}

// Repair is how /dev/log is repaired.
type Repair struct {
	Command []string // see watcher.Config; empty to leave /dev/log alone
	Private bool     // /dev is the container's own
}

// Owner is the program around a receiver.
type Owner interface {
	// Written is called when the outputs have the received messages.
	Written()
	// Stepped is called after the receiver's work for a round of the loop.
	Stepped(now time.Time)
	// Ended is called when the receiver must end: without an error because the container's
	// first process has ended, otherwise because it cannot receive any more.
	Ended(err error)
}

// Receiver receives for one container.
type Receiver struct {
	config  Config
	process *process.Process
	round   *eventloop.Task  // runs after events
	timer   *eventloop.Timer // for work that is due without events
	intake  *intake.Intake
	router  router.Router
	holdings
	watcher *watcher.Watcher // nil if it does not watch /dev/log
	kernel  *kmsg.Source     // nil if it does not read the kernel's log
	claims  router.Claims
	counts  counters.Counters
	metrics metricsFile
	resumed *handover.Description // what another program left; nil for nothing
	life
}

// life is the state of a receiver.
type life struct {
	receives bool      // the outputs are open
	ending   time.Time // End was called; zero before that
	closed   bool
}

// New returns a receiver that has nothing open yet.
func New(p *process.Process, c Config) *Receiver {
	host := cmp.Or(c.LineHost, c.Name)
	r := &Receiver{config: c, process: p, holdings: holdings{init: -1, root: -1, identity: cleanup.Identity{Self: record.Self()}}}
	r.config.Logs = cmp.Or(c.Logs, syslogconf.LogsDir)
	r.router.Options = router.Options{
		Host: []byte(host), Container: router.NewContainer(c.Name, c.LineHost, c.ContainerName),
		PID: strconv.AppendInt(nil, int64(os.Getpid()), 10), Compress: c.Compress, Watchdog: p.Watchdog,
		Below: r.Below, Wake: r.wake, Init: func() int { return r.init }, KernelLog: c.Node.KernelLog,
	}
	r.round = eventloop.NewTask(r.step)
	r.timer = p.Loop.NewTimer(func(time.Time) { r.Soon() })
	r.intake = intake.New(p.Loop, p.Memory, taker{r}, c.Limit.Rate, c.Limit.Overflow)
	r.intake.Number = c.Node.Number
	r.counts = counters.Counters{Counts: &r.intake.Counts, Started: time.Now()}
	r.metrics.Path = c.Metrics
	return r
}

// ErrNoSocket means that there is nothing to receive from, and no /dev/log to watch.
var ErrNoSocket = errors.New("no socket to receive from")

// Start listens. From now on the loop calls the receiver.
func (r *Receiver) Start() error {
	for _, l := range r.config.Listen {
		if r.listensAt(l.Path) { // the earlier program did that
			continue
		}
		s, err := intake.Listen(l.Path, l.Kind, r.intake.Asks())
		if err != nil {
			return err
		}
		r.sockets = append(r.sockets, &socket{Socket: s})
	}
	watches := r.root >= 0 && len(r.config.Repair.Command) > 0
	if len(r.sockets) == 0 && !watches {
		return ErrNoSocket
	}
	for _, s := range r.sockets {
		if err := r.read(s); err != nil {
			return err
		}
	}
	if r.resumed != nil {
		if err := r.resumeConnections(); err != nil {
			return err
		}
	}
	if r.config.Kernel && r.kernel == nil {
		s, err := kmsg.Open(syslogconf.KernelLog)
		if err == nil {
			err = r.addKernel(s)
		}
		if err != nil {
			return err
		}
	}
	if r.init >= 0 {
		if err := r.process.Loop.Add(r.init, r.initEnded); err != nil {
			return err
		}
	}
	if watches {
		r.startWatcher()
	}
	return nil
}

// initEnded tells the owner that the container's first process has ended.
func (r *Receiver) initEnded() {
	_ = r.process.Loop.Remove(r.init) // or it would be called again at once
	r.config.Owner.Ended(nil)
}

// read begins to read from the socket.
func (r *Receiver) read(s *socket) error {
	if reader := r.config.Node.Reader; reader != nil {
		return reader.Read(s.FD, s.Journal)
	}
	return r.intake.Add(s.Socket)
}

// listensAt returns whether a socket was bound to the path.
func (r *Receiver) listensAt(path string) bool {
	return slices.ContainsFunc(r.sockets, func(s *socket) bool { return s.Path == path })
}

// Soon makes the receiver do what is due after the events of this round.
func (r *Receiver) Soon() { r.process.Loop.Soon(r.round) }

// around is Around.
func (n Node) around(f func()) {
	if n.Around == nil {
		f()
		return
	}
	n.Around(f)
}

// step does what follows from a round's events.
func (r *Receiver) step() {
	if r.closed {
		return
	}
	now := r.process.Loop.Now()
	if r.watcher != nil {
		r.config.Node.around(func() { r.watcher.Step(now) })
	}
	r.Settle(now)
	r.stepMetrics(now)
	r.config.Owner.Stepped(now)
	if !r.closed {
		r.timer.Set(r.next())
	}
}

// next returns when something is due without events; zero for never.
func (r *Receiver) next() (next time.Time) {
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(r.router.Next())
	earlier(r.metrics.next)
	if r.watcher != nil {
		earlier(r.watcher.Next())
	}
	return next
}

// taker is the receiver as an intake.Taker.
type taker struct{ *Receiver }

// Take passes a received message to the outputs.
func (t taker) Take(raw []byte, cut bool, from syslog.Sender, now time.Time) {
	t.router.At(now)
	t.handle(raw, cut, from)
}

// Busy returns until when senders should wait for an output.
func (t taker) Busy(now time.Time) time.Time { return t.router.Busy(now) }

// TakeEntry passes one received entry of the journal to the outputs.
func (t taker) TakeEntry(m *syslog.Message, now time.Time) {
	t.router.At(now)
	t.pass(m)
}

func (t taker) Done() { t.Soon() }

func (t taker) Failed(err error) { t.config.Owner.Ended(err) }

func (t taker) Say(s syslog.Severity, text string) {
	t.Receiver.Say(s, text)
	t.Soon()
}

// handle passes a received message to the outputs.
func (r *Receiver) handle(raw []byte, cut bool, from syslog.Sender) {
	var m syslog.Message
	syslog.Parse(raw, &m, r.config.Hosts...)
	m.Cut, m.Sender = cut, from
	r.pass(&m)
}

// pass passes one message to the outputs.
func (r *Receiver) pass(m *syslog.Message) {
	if m.Sender.Known {
		m.Sender.Differs = r.claims.Differ(m, m.Sender.PID, r.router.Now().Unix())
	}
	router.Disown(m)
	r.counts.Route(r.router.Pass(m))
}

// Say passes a message from the program itself to the outputs.
func (r *Receiver) Say(s syslog.Severity, text string) {
	if r.config.Node.Reader != nil {
		r.config.Node.Reader.Say(s, text)
		return
	}
	m := r.router.Own(s, text)
	r.counts.Own++
	if len(r.router.Routes) == 0 && r.watcher != nil {
		// Usually the reason for the message is that the daemon is down.
		if r.watcher.Tell(&m) || s <= syslog.Warning && r.tellKernel(text) {
			r.counts.Told++
		} else {
			r.counts.Unrouted++
		}
		return
	}
	r.router.At(time.Now())
	r.counts.Route(r.router.Pass(&m))
}
