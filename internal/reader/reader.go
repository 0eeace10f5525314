// Package reader owns the process of a host's node that reads messages: it has the receivers
// of all containers on one event loop, and few privileges. The other process, package node,
// gives it their sockets and orders, and keeps the sockets and their names.
package reader

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/notify"
	"devlog/internal/process"
	"devlog/internal/receiver"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/timezone"
)

// Reader is the process's state. Only its loop's goroutine uses it.
type Reader struct {
	process   *process.Process
	conn      int // to the watcher
	parse     func(args []string) (receiver.Config, error)
	receivers map[uint64]*entry
	kept      *Kept
}

// entry is one container's receiver.
type entry struct {
	*receiver.Receiver
	reader *Reader
	id     uint64
	end    uint64           // the number of the order to end it; 0 for none
	timer  *eventloop.Timer // to continue to end
	record *record          // what outlives this process; nil if there are too many
	kernel int              // the open kernel's log, or -1
	// confirmed says that the hook has left the sockets to the node: it does not start another
	// receiver.
	confirmed bool
}

// New returns a reader for the watcher at the other end of conn. parse reads the command line of
// a receiver.
func New(p *process.Process, conn int, kept *Kept, parse func([]string) (receiver.Config, error)) (*Reader, error) {
	r := &Reader{process: p, conn: conn, parse: parse, receivers: map[uint64]*entry{}, kept: kept}
	return r, p.Loop.Add(conn, r.take)
}

// take carries out the next order.
func (r *Reader) take() {
	o, files, err := nodecall.TakeOrder(r.conn)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return
	case err != nil && o == nil:
		r.process.Loop.Fail(fmt.Errorf("cannot take an order of the watcher: %w", err))
		return
	case err != nil:
		r.answer(nodecall.Result{Number: o.Number, Error: err.Error()})
		return
	case o == nil: // the watcher has ended
		_ = r.process.Loop.Remove(r.conn) // closed by the caller
		r.process.Loop.Stop()
		return
	}
	result := nodecall.Result{Number: o.Number}
	if err := r.do(o, files, &result); errors.Is(err, errLater) {
		return
	} else if err != nil {
		result.Error = err.Error()
	}
	r.answer(result)
}

// errLater means that an order is not carried out yet.
var errLater = errors.New("later")

// do carries out the order. It owns the files.
func (r *Reader) do(o *nodecall.Order, files []handover.File, result *nodecall.Result) error {
	if o.Operation == nodecall.Add {
		return r.add(o, files)
	}
	e := r.receivers[o.ID]
	if e == nil && o.ID != 0 {
		handover.CloseFiles(files)
		return fmt.Errorf("container %d is unknown", o.ID)
	}
	switch o.Operation {
	case nodecall.Receive:
		return e.TakeOver(e.takeKernelLog(files), 0)
	case nodecall.Retire:
		e.Drop(o.Socket)
	case nodecall.Say:
		e.Receiver.Say(syslog.Severity(o.Severity), o.Text)
		e.Soon()
	case nodecall.Confirm:
		e.confirmed = true
	case nodecall.Count:
		result.Received, result.Lost = e.Totals()
	case nodecall.Forget:
		if e.end != 0 {
			r.answer(nodecall.Result{Number: e.end})
		}
		e.close()
	case nodecall.End:
		if e.end != 0 {
			return errors.New("it is ending already")
		}
		e.end = o.Number
		e.drain()
		e.rest(time.Now())
		return errLater
	case nodecall.Reload:
		zone := timezone.Read()
		for _, e := range r.receivers {
			e.Reload(zone)
			e.Soon()
		}
	case nodecall.Account:
		for _, e := range r.receivers {
			e.Account()
			e.Soon()
		}
	default:
		handover.CloseFiles(files)
		return errors.ErrUnsupported
	}
	return nil
}

// errOwn is why a container needs a receiver of its own.
var errOwn = errors.New("only a receiver of the container's own can do this")

// add begins to receive for a container.
func (r *Reader) add(o *nodecall.Order, files []handover.File) (err error) {
	e := &entry{reader: r, id: o.ID, kernel: -1, confirmed: o.Confirmed}
	defer func() {
		if err != nil {
			file.Shut(&e.kernel)
		}
	}()
	files = e.takeKernelLog(files)
	d, err := handover.Describe(files)
	if err == nil && r.receivers[o.ID] != nil {
		err = fmt.Errorf("container %d exists already", o.ID)
	}
	var c receiver.Config
	if err == nil {
		c, err = r.parse(o.Args)
	}
	if err == nil && (c.Kernel || len(c.Listen) > 0 || c.Metrics != "" && !inLogs(c.Metrics)) {
		err = fmt.Errorf("%w: --kernel, --listen, or --metrics-file outside %s", errOwn, syslogconf.LogsDir)
	}
	if err != nil {
		handover.CloseFiles(files)
		return err
	}
	e.timer = r.process.Loop.NewTimer(e.rest)
	c.Owner, c.Repair = e, receiver.Repair{}
	c.Node = receiver.Node{Number: o.ID, KernelLog: func() int { return e.kernel }}
	e.Receiver = receiver.New(r.process, c)
	if o.Again { // if one file can no longer be opened, the other outputs still work
		e.Resume(handover.NewDescription(), false)
		defer e.Resumed()
	}
	if err = e.Take(d); err == nil {
		err = e.OpenOutputs(nil)
	}
	if err == nil {
		err = e.CheckLoops()
	}
	if err == nil {
		if err = e.Start(); errors.Is(err, receiver.ErrNoSocket) {
			err = nil // another daemon receives, for now
		}
	}
	if err != nil {
		e.Close()
		return err
	}
	e.Flush(time.Now()) // outputs look at their files before the container runs
	r.receivers[o.ID] = e
	e.restore(o.Again)
	e.Soon()
	return nil
}

// restore continues with the counts of an earlier reader, if that had the container, and counts
// what it has lost.
func (e *entry) restore(again bool) {
	if !again {
		e.reader.kept.drop(e.id) // of another container with that number
	}
	known := e.reader.kept.records[e.id] != nil
	if e.record = e.reader.kept.record(e.id); !known {
		return
	}
	read, pending := e.record.lost, e.record.pending
	e.Restore(&e.record.counts, read, pending)
	e.record.lost, e.record.pending = 0, 0
	e.Tally(&e.record.counts)
	if n := read + pending; n > 0 {
		e.Receiver.Say(syslog.Warning, "up to "+strconv.FormatUint(n, 10)+" messages lost: devlogd was killed before it had written them")
	}
}

// follows returns an error if the rules need more than the sandbox allows: the container then gets a
// receiver of its own. Without this check that would show only at the first message, when the files are
// opened.
func follows(rules []syslogconf.Rule, err error) ([]syslogconf.Rule, error) {
	for _, rule := range rules {
		switch rule.Kind {
		case syslogconf.File, syslogconf.FIFO, syslogconf.Terminal:
			if !inLogs(rule.Path) {
				err = cmp.Or(err, fmt.Errorf("%w: write to %s", errOwn, rule.Path))
			}
		case syslogconf.ContainerStdout:
			err = cmp.Or(err, fmt.Errorf("%w: container-stdout", errOwn))
		}
	}
	return rules, err
}

// takeKernelLog takes the kernel's log from the files, and returns the others.
func (e *entry) takeKernelLog(files []handover.File) (others []handover.File) {
	for _, f := range files {
		if f.Name != NameKernelLog {
			others = append(others, f)
			continue
		}
		file.Shut(&e.kernel)
		e.kernel = f.FD
	}
	return others
}

// inLogs returns whether the path is below the directory of containers' logs.
func inLogs(path string) bool {
	return strings.HasPrefix(filepath.Clean(path), syslogconf.LogsDir+"/")
}

// answer tells the watcher what became of an order. The sandbox refuses to pass files, so the
// answer is the message itself.
func (r *Reader) answer(result nodecall.Result) {
	text, err := json.Marshal(result)
	if err == nil {
		_, err = unix.Write(r.conn, text)
	}
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) { // the end of the connection is read next
		r.process.Loop.Fail(fmt.Errorf("cannot answer the watcher: %w", err))
	}
}

// drain reads the last messages.
func (e *entry) drain() {
	if err := e.End(); err != nil {
		e.Receiver.Say(syslog.Warning, "cannot read the last messages: "+err.Error())
	}
}

// rest writes what is left of a receiver that ends, and then closes it.
func (e *entry) rest(now time.Time) {
	if next := e.Rest(now); !next.IsZero() {
		e.timer.Set(next)
		return
	}
	result := nodecall.Result{Number: e.end}
	e.close()
	result.Received, result.Lost = e.Totals()
	e.reader.answer(result)
}

// close closes the receiver's files.
func (e *entry) close() {
	e.timer.Set(time.Time{})
	e.Close()
	file.Shut(&e.kernel)
	e.reader.kept.drop(e.id)
	delete(e.reader.receivers, e.id)
}

// Written records that the outputs have the received messages.
func (e *entry) Written() {
	if e.record != nil {
		e.record.pending = e.Unwritten()
		e.Tally(&e.record.counts)
	}
	e.Forget()
}

func (e *entry) Stepped(time.Time) {}

// Ended tells the watcher that the receiver can no longer read from its sockets.
func (e *entry) Ended(err error) {
	e.Receiver.Say(syslog.Err, "ends: "+err.Error())
	e.reader.answer(nodecall.Result{ID: e.id, Error: err.Error()})
}

// leaveTime is how long a process that leaves its sockets to another tries to write what is
// pending.
const leaveTime = 5 * time.Second

// Leave writes what was received, and closes everything. It does not read from sockets that a
// service manager keeps: the next reader gets what they have queued. Nobody else gets the others.
func (r *Reader) Leave() {
	for _, e := range r.receivers {
		if !notify.Managed() && e.confirmed {
			e.drain()
		} else {
			e.HangUp()
		}
	}
	for deadline := time.Now().Add(leaveTime); ; {
		var pending uint64
		for _, e := range r.receivers {
			e.SumUp()
			e.Flush(time.Now())
			pending += e.Unwritten()
		}
		if pending == 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for id, e := range r.receivers {
		e.Written()
		e.Close()
		file.Shut(&e.kernel)
		delete(r.receivers, id)
	}
	file.Shut(&r.conn)
}
