// Package node owns the service of a host that receives for all its containers: the process
// that hooks call. It watches the containers' /dev/log, has them repaired, and keeps their
// sockets, but reads no message. Its child, the reader (package reader), reads them with few
// privileges.
package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/lost"
	"devlog/internal/names"
	"devlog/internal/nodecall"
	"devlog/internal/process"
	"devlog/internal/reader"
	"devlog/internal/receiver"
	"devlog/internal/record"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
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
	last       uint64 // the last container's number
	child      child
	store      store
	lost       *lost.Runner
	lock       *os.File         // of this service's processes
	again      *eventloop.Timer // to accept calls
}

// New returns a node that listens on one of the files, or at nodecall.Socket, and continues with
// the containers that the service manager has kept.
func New(c Config, files []handover.File) (n *Node, err error) {
	n = &Node{Config: c, listener: -1, containers: map[uint64]*container{}}
	n.child.node, n.child.batch, n.child.conn, n.store = n, -1, -1, newStore()
	if n.pidns, err = pidNamespace("self"); err != nil {
		return nil, err
	}
	n.again = n.Process.Loop.NewTimer(func(time.Time) { _ = n.Process.Loop.Resume(n.listener) })
	files = n.takeOwn(files)
	if n.lock, err = lost.Lock(lost.Dir); err != nil { // the containers count
		n.Log(syslog.Warning, "an earlier service has not ended: "+err.Error())
	}
	if err := n.child.start(); err != nil {
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
		case f.Name == reader.NameBatch && n.child.batch < 0:
			n.child.batch = f.FD
		default:
			others = append(others, f)
		}
	}
	return others
}

// listen listens at the path. It makes the directory if it is missing.
func listen(path string) (fd int, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return -1, fmt.Errorf("cannot listen at %s: %w", path, err)
	}
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, err
	}
	at := &unix.SockaddrUnix{Name: path}
	if err = unix.Bind(fd, at); errors.Is(err, unix.EADDRINUSE) && !answers(path) {
		if err = unix.Unlink(path); err == nil {
			err = unix.Bind(fd, at)
		}
	}
	if err == nil {
		err = unix.Chmod(path, 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot listen at %s: %w", path, err)
	}
	return fd, nil
}

// answers returns whether somebody listens at the path.
func answers(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	return !errors.Is(unix.Connect(fd, &unix.SockaddrUnix{Name: path}), unix.ECONNREFUSED)
}

// acceptDelay is the time until the next attempt to accept a call.
const acceptDelay = 100 * time.Millisecond

// accept accepts a call.
func (n *Node) accept() {
	conn, _, err := unix.Accept4(n.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil { // the caller has gone, or too many files are open
		_ = n.Process.Loop.Pause(n.listener)
		n.again.Set(time.Now().Add(acceptDelay))
		return
	}
	if err = n.Process.Loop.Add(conn, func() { n.take(conn) }); err != nil {
		_ = unix.Close(conn)
	}
}

// mayCall returns an error unless the caller is root of the host.
func (n *Node) mayCall(conn int) error {
	peer, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Uid) != os.Geteuid() {
		return unix.EPERM
	}
	if ns, err := pidNamespace(strconv.Itoa(int(peer.Pid))); err != nil || ns != n.pidns {
		return errors.New("devlogd.service is in another PID namespace")
	}
	return nil
}

// pidNamespace returns the PID namespace of the process (pid_namespaces(7)).
func pidNamespace(process string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/"+process+"/ns/pid", &st); err != nil {
		return 0, fmt.Errorf("cannot find the PID namespace of process %s: %w", process, err)
	}
	return st.Ino, nil
}

// take takes a call. Each connection has one.
func (n *Node) take(conn int) {
	q, files, err := nodecall.Take[nodecall.Request](conn)
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	_ = n.Process.Loop.Remove(conn)
	if err == nil && q == nil {
		_ = unix.Close(conn)
		return
	}
	if err == nil {
		if err = n.mayCall(conn); err != nil {
			handover.CloseFiles(files)
		}
	}
	switch {
	case err != nil:
		_ = reply(conn, nodecall.Answer{}, err) // the caller may have gone
		_ = unix.Close(conn)
	case q.Operation == nodecall.Add:
		n.add(q, files, func(err error, confirmed func(bool)) { n.answerAdd(conn, err, confirmed) })
	default:
		n.do(q, files, func(a nodecall.Answer, err error) {
			_ = reply(conn, a, err)
			_ = unix.Close(conn)
		})
	}
}

func reply(conn int, a nodecall.Answer, err error) error {
	if a.PID = os.Getpid(); err != nil {
		a.Error = err.Error()
	}
	return nodecall.Send(conn, a, nil)
}

// answerAdd answers a call to add, and then waits until the caller confirms that, or ends.
func (n *Node) answerAdd(conn int, err error, confirmed func(bool)) {
	end := func(knows bool) {
		_ = n.Process.Loop.Remove(conn)
		_ = unix.Close(conn)
		if confirmed != nil {
			confirmed(knows)
		}
	}
	if rerr := reply(conn, nodecall.Answer{}, err); rerr != nil || err != nil {
		end(false)
		return
	}
	if n.Process.Loop.Add(conn, func() {
		size, _ := unix.Read(conn, make([]byte, 1))
		end(size == 1)
	}) != nil {
		end(false)
	}
}

// do carries out any other call, and then answers. It owns the files.
func (n *Node) do(q *nodecall.Request, files []handover.File, answer func(nodecall.Answer, error)) {
	done := func(err error) { answer(nodecall.Answer{}, err) }
	if q.Operation == nodecall.List {
		handover.CloseFiles(files)
		n.list(answer)
		return
	}
	var c *container
	if len(files) > 0 {
		c = n.find(files[0].FD)
		_ = unix.Close(files[0].FD)
		files = files[1:]
	}
	switch {
	case c == nil:
		handover.CloseFiles(files)
		done(errors.New("devlogd.service does not know that container"))
	case q.Operation == nodecall.End:
		handover.CloseFiles(files)
		c.endBy(done)
	case q.Operation == nodecall.Receive:
		err := c.receiver.TakeOver(files, 0)
		c.receiver.Soon()
		done(err)
	default:
		handover.CloseFiles(files)
		done(errors.ErrUnsupported)
	}
}

// find returns the container that has the directory among its names; nil for none.
func (n *Node) find(dir int) *container {
	var st unix.Stat_t
	if unix.Fstat(dir, &st) != nil {
		return nil
	}
	for _, c := range n.containers {
		if !c.ends && c.receiver.Holds(file.IDOf(&st)) {
			return c
		}
	}
	return nil
}

// list answers with all containers and their counts.
func (n *Node) list(answer func(nodecall.Answer, error)) {
	var a nodecall.Answer
	left := len(n.containers)
	if left == 0 {
		answer(a, nil)
		return
	}
	for _, c := range n.containers {
		entry := nodecall.Container{Args: c.args, Since: c.since, Init: c.pid()}
		n.child.order(nodecall.Order{Operation: nodecall.Count, ID: c.number}, nil, func(r nodecall.Result, _ error) {
			entry.Received, entry.Lost = r.Received, r.Lost
			a.Containers = append(a.Containers, entry)
			if left--; left == 0 {
				answer(a, nil)
			}
		})
	}
}

// Reload has the reader reread the rules of all containers and reopen their files.
func (n *Node) Reload() {
	for _, c := range n.containers {
		c.reread()
	}
	n.child.order(nodecall.Order{Operation: nodecall.Reload}, nil, nil)
}

// Account has the reader log the counts of all containers.
func (n *Node) Account() { n.child.order(nodecall.Order{Operation: nodecall.Account}, nil, nil) }

// Leave ends the node. The service manager keeps the sockets for the next one.
func (n *Node) Leave() {
	n.child.leave(time.Now().Add(leaveTime))
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
