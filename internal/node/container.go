package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/lost"
	"devlog/internal/names"
	"devlog/internal/nodecall"
	"devlog/internal/pidfd"
	"devlog/internal/receiver"
	"devlog/internal/record"
	"devlog/internal/syslog"
	"devlog/internal/worker"
)

// container is a container of the node. Its receiver keeps the sockets for the reader, removes
// the names at the end, and watches /dev/log.
type container struct {
	node     *Node
	number   uint64
	args     []string
	repair   []byte // how the hook repairs it again
	since    time.Time
	receiver *receiver.Receiver
	// added is called once, when the reader reads. starting says that the caller has not
	// confirmed the answer yet. ending are called when the reader has read everything.
	added    func(error)
	starting bool
	ending   []func(error)
	ends     bool              // the reader reads the last messages
	kernel   bool              // the reader has the kernel's log
	reading  bool              // the reader has the sockets
	retired  []handover.Passed // sockets that were given up, and that the reader has not emptied
	unread   unread
	saved    saved
}

// unread is the state of a container whose sockets the reader does not have.
type unread struct {
	why   string           // as reported; empty if the reader has not refused them
	toSay []nodecall.Order // messages for the container's log, for when the reader has them
}

// answer answers a call to add. Without an error, confirmed is called later: knows says whether the
// caller got the answer.
type answer func(err error, confirmed func(knows bool))

// add begins to receive for a container. It owns the files, and calls done when the reader reads
// from them.
func (n *Node) add(q *nodecall.Request, files []handover.File, done answer) {
	defer n.guard.enter(section{args: q.Args})()
	d, err := handover.Describe(files)
	var c *container
	if err == nil {
		c, err = n.newContainer(q.Args, 0)
	}
	if err != nil {
		handover.CloseFiles(files)
		done(err, nil)
		return
	}
	old := n.replaced(d)
	c.starting, c.repair = true, q.Repair
	c.added = func(err error) {
		if err != nil { // the caller starts a receiver of the container's own
			c.forget()
			done(err, nil)
			return
		}
		done(nil, func(knows bool) { c.confirmed(knows, old) })
	}
	if err := c.start(d); err != nil {
		c.fail(err)
	}
}

// confirmed completes the start of a container. A caller that did not get the answer may have
// started another receiver: then the node forgets the container.
func (c *container) confirmed(knows bool, old *container) {
	if !knows {
		c.forget()
		return
	}
	if c.closed() { // it ended before its hook confirmed
		return
	}
	c.starting = false
	c.node.worker.Order(nodecall.Order{Operation: nodecall.Confirm, ID: c.number}, nil, nil)
	c.save()
	c.remember()
	if old != nil && c.node.containers[old.number] == old { // the new one has its names
		old.receiver.Forsake()
		old.end()
	}
}

// replaced returns the container that has a name in the same directory as a socket of the
// description; nil for none.
func (n *Node) replaced(d *handover.Description) *container {
	for _, s := range d.Sockets {
		if s.Cleanup >= 0 {
			return n.find(d.Cleanups[s.Cleanup].Dir)
		}
	}
	return nil
}

// isHook returns whether the command runs the hook's program beside this one. The node runs it as
// root.
func (n *Node) isHook(command []string) bool {
	own, err := os.Stat(filepath.Join(filepath.Dir(n.Program), names.Hook))
	given, gerr := os.Stat(command[0])
	return err == nil && gerr == nil && os.SameFile(own, given) && len(command) > 1 && command[1] == names.AutoRepair
}

// pid returns the container's first process; 0 if it is not known, or has ended.
func (c *container) pid() (pid int) {
	if c.receiver.Init() >= 0 {
		pid, _ = pidfd.PID(c.receiver.Init()) // it may have ended
	}
	return pid
}

// remember writes the container's file, by which it is found if its sockets are lost.
func (c *container) remember() {
	init, err := record.Of(c.pid())
	if err != nil {
		return // without its start time, a later process could be taken for it
	}
	c.node.lost.Repaired(init)
	if err := lost.Save(lost.Dir, c.number, lost.Saved{Init: init, Repair: c.repair}); err != nil {
		c.node.Log(syslog.Warning, err.Error())
	}
}

// newContainer returns a container with the next number, or that number if it is not 0.
func (n *Node) newContainer(args []string, number uint64) (*container, error) {
	config, err := n.Parse(args)
	if err != nil {
		return nil, err
	}
	if c := config.Repair.Command; len(c) > 0 && !n.isHook(c) {
		return nil, errors.New("its program for repairs is not that of devlogd.service")
	}
	if number == 0 {
		number = n.last + 1
	}
	n.last = max(n.last, number)
	c := &container{node: n, number: number, args: args, since: time.Now()}
	c.receiver = receiver.New(n.Process, receiver.Config{
		Owner: c, Name: config.Name, LineHost: config.LineHost, Repair: config.Repair, Node: receiver.Node{Number: number, Reader: forReader{c}, Around: c.guarded},
	})
	n.containers[number] = c
	return c, nil
}

// guarded calls a function that uses the container's files.
func (c *container) guarded(do func()) {
	defer c.node.guard.enter(c.section())()
	do()
}

// start has the reader read from the sockets, and watches /dev/log.
func (c *container) start(d *handover.Description) error {
	if err := c.receiver.Take(d); err != nil {
		return err
	}
	if err := c.receiver.Start(); err != nil {
		return err
	}
	c.receiver.Soon()
	return c.read()
}

// fail ends a container that cannot start.
func (c *container) fail(err error) {
	if added := c.added; added != nil {
		c.added = nil
		added(err)
	}
}

// read has a new reader read from the container's sockets, and from those that were given up.
func (c *container) read() error {
	if err := c.node.guard.outside(c.prepare); err != nil {
		if c.added != nil {
			return err
		}
		c.node.Log(syslog.Warning, err.Error()) // receiving matters more than the logs' owner
	}
	var files []handover.Passed
	if c.kernel {
		files = kernelLog()
	}
	for _, r := range c.retired {
		if f, err := passed(int(r.File.Fd()), r.Name == handover.NameJournal); err == nil {
			files = append(files, f)
		}
	}
	for _, s := range c.receiver.Sockets() {
		f, err := passed(s.FD, s.Journal)
		if err != nil {
			handover.ClosePassed(files)
			return err
		}
		files = append(files, f)
	}
	c.reading = true
	c.node.worker.Order(nodecall.Order{Operation: nodecall.Add, ID: c.number, Args: c.args, Again: c.added == nil, Confirmed: !c.starting}, files, func(_ nodecall.Result, err error) {
		if errors.Is(err, worker.ErrGone) { // the next one gets the container too
			return
		}
		added := c.added
		c.added = nil
		switch {
		case added != nil:
			added(err)
		case err != nil:
			c.reading = false
			c.cannotRead(err)
		default:
			c.unread.why = ""
		}
	})
	for _, r := range slices.Clone(c.retired) {
		c.empty(r)
	}
	for _, o := range c.unread.toSay {
		c.node.worker.Order(o, nil, nil)
	}
	c.unread.toSay = nil
	return nil
}

// cannotRead reports why the reader does not read from the container's sockets, and tries again later.
func (c *container) cannotRead(err error) {
	if text := err.Error(); text != c.unread.why {
		c.unread.why = text
		c.node.Log(syslog.Err, fmt.Sprintf("cannot receive for the container of %q: %v", c.args, err))
	}
	c.node.retry.schedule()
}

// empty has the reader read what a socket that was given up has queued.
func (c *container) empty(p handover.Passed) {
	var st unix.Stat_t
	_ = unix.Fstat(int(p.File.Fd()), &st) // 0 is no socket's number
	c.node.worker.Order(nodecall.Order{Operation: nodecall.Retire, ID: c.number, Socket: st.Ino}, nil, func(_ nodecall.Result, err error) {
		if i := slices.Index(c.retired, p); i >= 0 && !errors.Is(err, worker.ErrGone) { // the next one gets it too
			c.retired = slices.Delete(c.retired, i, i+1)
			_ = p.File.Close()
		}
	})
}

// Written is part of receiver.Owner.
func (c *container) Written() {}

// Stepped saves what has changed.
func (c *container) Stepped(time.Time) { c.save() }

// forget leaves the sockets and names to another receiver: nothing more is read from them.
func (c *container) forget() {
	if c.closed() {
		return
	}
	defer c.node.guard.enter(c.section())()
	c.receiver.Forsake()
	_ = c.receiver.End() // ends the watcher; the sockets are not read here
	c.node.worker.Order(nodecall.Order{Operation: nodecall.Forget, ID: c.number}, nil, nil)
	c.close()
}

// Ended ends the container with its first process.
func (c *container) Ended(error) { c.end() }

// endBy ends the container, and then calls done.
func (c *container) endBy(done func(error)) {
	c.ending = append(c.ending, done)
	c.end()
}

// end ends the container, whose names are removed when the reader has written what is left.
func (c *container) end() {
	if c.ends || c.closed() {
		return
	}
	c.ends = true
	c.guarded(func() { _ = c.receiver.End() }) // the reader drains the sockets
	c.drain()
}

// drain has the reader read and write what is left.
func (c *container) drain() {
	c.node.worker.Order(nodecall.Order{Operation: nodecall.End, ID: c.number}, nil, func(_ nodecall.Result, err error) {
		if errors.Is(err, worker.ErrGone) || c.closed() { // the next one drains them
			return
		}
		c.close()
		for _, done := range c.ending {
			done(err)
		}
	})
}

// closed returns whether the node has forgotten the container.
func (c *container) closed() bool { return c.node.containers[c.number] != c }

// close removes the container's names and closes its files.
func (c *container) close() {
	if c.closed() {
		return
	}
	delete(c.node.containers, c.number)
	c.guarded(c.receiver.Close)
	handover.ClosePassed(c.retired)
	c.retired = nil
	c.unsave()
	_ = lost.Unsave(lost.Dir, c.number) // if it stays, the next start finds that the container has ended
}

// maxToSay is how many messages wait for a reader: the newest.
const maxToSay = 32

// forReader is a container as a receiver.Reader.
type forReader struct{ c *container }

// Read has the reader read from the socket too.
func (f forReader) Read(socket int, journal bool) error {
	if !f.c.reading { // the reader will get all sockets together
		return nil
	}
	file, err := passed(socket, journal)
	if err != nil {
		return err
	}
	f.c.node.worker.Order(nodecall.Order{Operation: nodecall.Receive, ID: f.c.number}, []handover.Passed{file}, func(_ nodecall.Result, err error) {
		if err != nil && !errors.Is(err, worker.ErrGone) { // the next one gets it too
			f.Say(syslog.Warning, "devlogd.service cannot read from a socket: "+err.Error())
		}
	})
	return nil
}

// passed returns a duplicate of the socket, to be passed to the reader.
func passed(socket int, journal bool) (p handover.Passed, err error) {
	fd, err := unix.FcntlInt(uintptr(socket), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return p, err
	}
	p = handover.Passed{File: os.NewFile(uintptr(fd), "socket"), Name: handover.NameSocket}
	if journal {
		p.Name = handover.NameJournal
	}
	return p, nil
}

// reread prepares what new rules may need. It also starts to read for a container whose rules the
// reader had refused.
func (c *container) reread() {
	if !c.reading && c.node.worker.Ready() {
		if err := c.read(); err != nil {
			c.cannotRead(err)
		}
		return
	}
	had := c.kernel
	if err := c.prepare(); err != nil {
		c.node.Log(syslog.Warning, err.Error())
	}
	if c.kernel && !had && c.reading {
		c.node.worker.Order(nodecall.Order{Operation: nodecall.Receive, ID: c.number}, kernelLog(), nil)
	}
}

// Retire has the reader read what the socket has queued. The socket stays open until then, in case
// another reader must do it.
func (f forReader) Retire(socket int) {
	journal := slices.ContainsFunc(f.c.receiver.Sockets(), func(s *intake.Socket) bool { return s.FD == socket && s.Journal })
	p, err := passed(socket, journal)
	if err != nil {
		f.c.node.Log(syslog.Warning, "cannot keep a socket: "+err.Error())
		return
	}
	f.c.retired = append(f.c.retired, p)
	f.c.empty(p)
}

// Say has the reader log a message in the container's log.
func (f forReader) Say(s syslog.Severity, text string) {
	o := nodecall.Order{Operation: nodecall.Say, ID: f.c.number, Severity: int(s), Text: text}
	if !f.c.reading { // perhaps for days, if the reader refuses the rules
		u := &f.c.unread
		u.toSay = append(u.toSay[max(0, len(u.toSay)-maxToSay+1):], o)
		return
	}
	f.c.node.worker.Order(o, nil, nil)
}
