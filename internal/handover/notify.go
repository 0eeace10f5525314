package handover

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// FilesVariable has the socket where the hook passes the files to a receiver that the service
// manager started.
const FilesVariable = "DEVLOGD_FILES"

// Supervised returns whether the service manager started this process for a hook. It returns
// false after FromHook.
func Supervised() bool { return os.Getenv(FilesVariable) != "" }

// FromHook returns the files that the hook passes to a receiver that the service manager
// started. ok is false if the environment names no hook. The error means that the hook is
// gone.
func FromHook(limit time.Duration) (files []File, ok bool, err error) {
	name, ok := os.LookupEnv(FilesVariable)
	if !ok {
		return nil, false, nil
	}
	if err := os.Unsetenv(FilesVariable); err != nil {
		return nil, true, fmt.Errorf("cannot remove %s from the environment: %w", FilesVariable, err)
	}
	files, err = receiveFrom(name, limit)
	if err != nil {
		err = fmt.Errorf("cannot receive the files from the hook: %w", err)
	}
	return files, true, err
}

func receiveFrom(name string, limit time.Duration) ([]File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return nil, err
	}
	return receiveAt(fd, limit)
}

// receiveAt returns the files of one SendFiles at the other end, which must belong to this
// process's user.
func receiveAt(fd int, limit time.Duration) ([]File, error) {
	if _, err := SamePeer(fd); err != nil {
		return nil, err
	}
	if err := Poll(limit, fd); err != nil {
		return nil, err
	}
	files, err := ReceiveFiles(fd)
	if err == nil && files == nil {
		err = errors.New("it has given up")
	}
	return files, err
}

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
