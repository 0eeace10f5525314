package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/nodecall"
	"devlog/internal/pidfd"
)

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
	if hasEnded(conn) { // the process ID may be that of another, which is in this namespace
		return unix.ESRCH
	}
	return nil
}

// hasEnded returns whether the process that has connected has ended. Before Linux 6.5 that is not known.
func hasEnded(conn int) bool {
	fd, err := unix.GetsockoptInt(conn, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return !errors.Is(err, unix.ENOPROTOOPT)
	}
	defer unix.Close(fd)
	return pidfd.Ended(fd)
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
	defer n.guard.enter(section{})()
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
		n.worker.Order(nodecall.Order{Operation: nodecall.Count, ID: c.number}, nil, func(r nodecall.Result, _ error) {
			entry.Received, entry.Lost = r.Received, r.Lost
			a.Containers = append(a.Containers, entry)
			if left--; left == 0 {
				answer(a, nil)
			}
		})
	}
}
