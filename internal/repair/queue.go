package repair

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
	"devlog/internal/target"
)

const (
	// queueLength is how many messages may wait in a private socket. A longer
	// queue lets senders go on while the receiver writes.
	queueLength = 512
	// queueFile sets that for the sockets that are made from then on in a
	// network namespace: in the one of the thread that opens the file (ip-sysctl's
	// net.unix, unix_create1 in net/unix/af_unix.c).
	queueFile = "/proc/sys/net/unix/max_dgram_qlen"
	// firstNetworkFile is only there in the machine's first network namespace
	// (net_core_table in net/core/sysctl_net_core.c).
	firstNetworkFile = "/proc/sys/net/core/netdev_max_backlog"
)

// newSocket makes the datagram socket that is to be the private one, with a
// longer queue than others where the container has a network namespace of its
// own. The host's is never touched; where anything stands in the way it is a
// socket like any other.
func newSocket(t *target.Target) (int, error) {
	s := -1
	_ = rootfs.AsSelf(func() (err error) { // an error leaves s as it is
		s, err = socketInside(t)
		return err
	})
	if s >= 0 {
		return s, nil
	}
	return rootfs.NewSocket()
}

// errShared says that the container has no network namespace of its own.
var errShared = errors.New("the network namespace is the host's")

// socketInside is newSocket's attempt. It leaves its thread in the container's
// network namespace, and the thread ends with the goroutine.
func socketInside(t *target.Target) (int, error) {
	switch {
	case t.Host || t.Pid == 0:
		return -1, errShared
	case t.ReceiverInside(): // /proc/sys/net is this process's, whosever /proc it is
		if _, err := os.Stat(firstNetworkFile); !errors.Is(err, os.ErrNotExist) {
			return -1, errShared
		}
		return longSocket()
	}
	pid := strconv.Itoa(t.Pid)
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
	if target.Ended(t.Init) { // the process ID may be another's by now
		return -1, unix.ESRCH
	}
	runtime.LockOSThread()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return -1, err
	}
	return longSocket()
}

// longSocket makes a socket in this thread's network namespace while its setting
// is a longer one, and puts the setting back.
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
			_, _ = f.WriteAt([]byte(before), 0) // it was written a moment ago
		}()
	}
	return rootfs.NewSocket()
}
