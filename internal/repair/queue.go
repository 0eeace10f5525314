package repair

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
	"devlog/internal/target"
)

const (
	// queueLength is how many messages a private socket can queue. Senders do not have to
	// wait while the receiver writes.
	queueLength = 512
	// queueFile sets the length for new sockets in the network namespace of the thread
	// that opens the file (unix_create1 in net/unix/af_unix.c).
	queueFile = "/proc/sys/net/unix/max_dgram_qlen"
	// firstNetworkFile exists only in the machine's first network namespace
	// (net_core_table in net/core/sysctl_net_core.c).
	firstNetworkFile = "/proc/sys/net/core/netdev_max_backlog"
)

// newSocket makes the private datagram socket, with a longer queue if the container has its
// own network namespace. The host's setting is never changed. If the longer queue fails, the
// socket has the usual one. A confined receiver has passed its own socket, for one name.
func newSocket(t *target.Target, unbound *os.File) (int, error) {
	s := -1
	if unbound != nil {
		at, err := unix.Getsockname(int(unbound.Fd()))
		if err != nil {
			return -1, fmt.Errorf("cannot use the receiver's socket: %w", err)
		}
		if name, ok := at.(*unix.SockaddrUnix); !ok || name.Name != "@" { // x/sys/unix for a socket without a name
			return -1, errUsed
		}
		return unix.FcntlInt(unbound.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	_ = rootfs.AsSelf(func() (err error) { // on an error s is still -1
		s, err = socketInside(t)
		return err
	})
	if s >= 0 {
		return s, nil
	}
	return rootfs.NewSocket()
}

// errShared says that the container uses the host's network namespace.
var errShared = errors.New("the network namespace is the host's")

// errUsed says that a repair that was rolled back has used up the passed socket.
var errUsed = errors.New("the receiver has passed one socket, and it has a name already")

// socketInside makes the socket in the container's network namespace. Its thread stays there
// and ends with the goroutine.
func socketInside(t *target.Target) (int, error) {
	switch {
	case t.Host || t.PID == 0:
		return -1, errShared
	case t.ReceiverInside(): // any /proc shows this process's own /proc/sys/net
		if _, err := os.Stat(firstNetworkFile); !errors.Is(err, os.ErrNotExist) {
			return -1, errShared
		}
		return longSocket()
	}
	pid := strconv.Itoa(t.PID)
	own, err := target.Namespace("self", "net")
	if err != nil {
		return -1, err
	}
	theirs, err := target.Namespace(pid, "net")
	if err != nil {
		return -1, err
	}
	if theirs == own {
		return -1, errShared
	}
	ns, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		return -1, err
	}
	defer ns.Close()
	if target.Ended(t.Init) { // the ID may be another process's by now
		return -1, unix.ESRCH
	}
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return -1, err
	}
	return longSocket()
}

// longSocket makes a socket in this thread's network namespace. It raises the setting for
// that moment and restores it.
func longSocket() (s int, err error) {
	f, err := os.OpenFile(queueFile, os.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	var text [32]byte
	n, err := f.ReadAt(text[:], 0)
	if n == 0 {
		return -1, err
	}
	before := strings.TrimSpace(string(text[:n]))
	if is, err := strconv.Atoi(before); err == nil && is < queueLength {
		if _, err := f.WriteAt([]byte(strconv.Itoa(queueLength)), 0); err != nil {
			return -1, err
		}
		defer func() {
			_, _ = f.WriteAt([]byte(before), 0) // it has just been written
		}()
	}
	return rootfs.NewSocket()
}
