// Package node owns the service of a host that receives for all its containers: the process
// that hooks call. It watches the containers' /dev/log, has them repaired, and keeps their
// sockets, but reads no message. Its child, the reader (package reader), reads them with few
// privileges.
package node

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/lost"
	"devlog/internal/names"
	"devlog/internal/nodecall"
	"devlog/internal/notify"
	"devlog/internal/process"
	"devlog/internal/reader"
	"devlog/internal/receiver"
	"devlog/internal/record"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
	"devlog/internal/worker"
)

// Config is the configuration of a node.
type Config struct {
	// Process is what the containers' receivers share.
	Process *process.Process
	// Program is devlogd's path, and ReaderArgs are its arguments for the reader.
	Program    string
	ReaderArgs []string
	// User is the reader's user, who must own the logs.
	User sandbox.User
	// Parse reads the command line of a receiver.
	Parse func(args []string) (receiver.Config, error)
	// Log reports something to the administrator.
	Log func(severity syslog.Severity, text string)
}

// Node is the service's state. Only its loop's goroutine uses it.
type Node struct {
	Config
	listener   int
	pidns      uint64
	containers map[uint64]*container
	last       uint64   // the last container's number
	memory     *os.File // of the process that reads; see reader.Kept
	worker     *worker.Worker
	store      store
	lost       *lost.Runner
	lock       *os.File         // of this service's processes
	again      *eventloop.Timer // to accept calls
	guard      *guard
	retry      retry
}

// New returns a node that listens on one of the files, or at nodecall.Socket, and continues with
// the containers that the service manager has kept.
func New(c Config, files []handover.File) (n *Node, err error) {
	n = &Node{Config: c, listener: -1, containers: map[uint64]*container{}}
	n.guard = newGuard(guardTime, n.restart)
	n.store = newStore(n.guard)
	if n.pidns, err = pidNamespace("self"); err != nil {
		return nil, err
	}
	n.again = n.Process.Loop.NewTimer(func(time.Time) { _ = n.Process.Loop.Resume(n.listener) })
	n.retry.timer = n.Process.Loop.NewTimer(n.readLeft)
	files = n.takeOwn(files)
	if n.lock, err = lost.Lock(lost.Dir); err != nil { // the containers count
		n.Log(syslog.Warning, "an earlier service has not ended: "+err.Error())
	}
	reap()
	if err := n.startWorker(); err != nil {
		return nil, err
	}
	n.restore(files)
	if n.listener < 0 {
		if n.listener, err = listen(nodecall.Socket); err != nil {
			return nil, err
		}
	}
	if err := n.Process.Loop.Add(n.listener, n.accept); err != nil {
		return nil, err
	}
	n.repairLost()
	return n, nil
}

// NameListener is the name of the socket for calls, from the service manager.
const NameListener = "node"

// takeOwn takes the node's own files, and returns those of containers.
func (n *Node) takeOwn(files []handover.File) (others []handover.File) {
	for _, f := range files {
		switch {
		case f.Name == NameListener && n.listener < 0:
			n.listener = f.FD
			_ = unix.SetNonblock(f.FD, true)
		case f.Name == reader.NameBatch && n.memory == nil:
			n.memory = os.NewFile(uintptr(f.FD), f.Name)
		default:
			others = append(others, f)
		}
	}
	return others
}

// startWorker starts the process that reads messages.
func (n *Node) startWorker() (err error) {
	if n.memory == nil {
		var fd int
		if fd, err = reader.MakeKept(); err == nil {
			n.memory = os.NewFile(uintptr(fd), reader.NameBatch)
			err = notify.Keep(reader.NameBatch, fd)
		}
		if err != nil {
			return err
		}
	}
	files := []handover.Passed{{File: n.memory, Name: reader.NameBatch}}
	if n.lock != nil {
		files = append(files, handover.Passed{File: n.lock, Name: "lock"}) // until it ends
	}
	n.worker, err = worker.Start(worker.Config{
		Loop: n.Process.Loop, Program: n.Program, Args: n.ReaderArgs, Files: files, Log: n.Log,
		Replaced: n.readAll, Failed: n.failAll,
		Ended: func() {
			for _, c := range n.containers {
				c.reading = false
			}
		},
		Lost: func(id uint64) {
			if c := n.containers[id]; c != nil {
				c.end()
			}
		},
	})
	return err
}

// readAll has a new process read for all containers.
func (n *Node) readAll() {
	for _, c := range n.containers {
		if err := c.read(); err != nil {
			c.cannotRead(err)
			c.fail(err)
		}
		if c.ends {
			c.drain()
		}
	}
}

// retry is when to try again to read for containers that the reader has refused: descriptors or memory
// may be free by then, or the rules be others.
type retry struct {
	timer *eventloop.Timer
	delay time.Duration // until the next attempt; zero if none is due
}

// firstRetry and lastRetry are the shortest and longest time between two attempts.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

func (r *retry) schedule() {
	r.delay = min(max(r.delay, firstRetry), lastRetry)
	r.timer.Set(time.Now().Add(r.delay))
}

// readLeft has the reader read for the containers that it does not read for.
func (n *Node) readLeft(time.Time) {
	var left []*container
	for _, c := range n.containers {
		if !c.reading && !c.ends && c.added == nil {
			left = append(left, c)
		}
	}
	n.retry.delay *= 2
	if len(left) == 0 {
		n.retry.delay = 0
		return
	}
	n.retry.schedule() // also to find that none is left
	for _, c := range left {
		if n.worker.Ready() { // the next one gets all containers
			c.reread()
		}
	}
}

// failAll ends the containers that wait for the process to start, and tells their hooks.
func (n *Node) failAll(err error) {
	for _, c := range n.containers {
		c.fail(err)
	}
}

// Reload has the reader reread the rules of all containers and reopen their files.
func (n *Node) Reload() {
	for _, c := range n.containers {
		c.reread()
	}
	n.worker.Order(nodecall.Order{Operation: nodecall.Reload}, nil, nil)
}

// Account has the reader log the counts of all containers.
func (n *Node) Account() { n.worker.Order(nodecall.Order{Operation: nodecall.Account}, nil, nil) }

// Leave ends the node. The service manager keeps the sockets for the next one.
func (n *Node) Leave() {
	n.worker.Leave(time.Now().Add(leaveTime))
	for _, c := range n.containers {
		c.save()
	}
}

// leaveTime is how long the reader may take to write what it has.
const leaveTime = 10 * time.Second

// repairLost has the hook repair the containers that an earlier node had and this one has not.
func (n *Node) repairLost() {
	all, err := lost.Numbers(lost.Dir)
	if err != nil {
		n.Log(syslog.Warning, err.Error())
	}
	var gone []uint64
	for _, number := range all {
		n.last = max(n.last, number)
		if n.containers[number] == nil {
			gone = append(gone, number)
		}
	}
	if len(gone) > 0 {
		n.Log(syslog.Notice, "repairing "+strconv.Itoa(len(gone))+" containers whose sockets were closed")
	}
	n.lost = lost.NewRunner(n.Process.Loop, lost.Dir, filepath.Join(filepath.Dir(n.Program), names.Hook), n.serves, func(text string) { n.Log(syslog.Warning, text) })
	n.lost.Repair(gone)
}

// serves returns whether the node has a container with that first process, and its hook knows.
func (n *Node) serves(init record.Process) bool {
	for _, c := range n.containers {
		if !c.starting && c.pid() == init.PID && init.Runs() {
			return true
		}
	}
	return false
}
