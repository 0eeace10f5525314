package handover

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SamePeer returns the process at the other end. It must belong to this process's user.
func SamePeer(fd int) (pid int, err error) {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	if int(peer.Uid) != os.Geteuid() {
		return 0, unix.EPERM
	}
	return int(peer.Pid), nil
}

// Poll waits until one of the descriptors is readable.
func Poll(limit time.Duration, list ...int) error {
	var fds []unix.PollFd
	for _, fd := range list {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for deadline := time.Now().Add(limit); ; {
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline)).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("it was not ready after %s", limit)
		}
	}
}
