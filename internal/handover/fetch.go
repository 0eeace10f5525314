package handover

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A running receiver gets further sockets as follows: the hook listens at a name that only
// root can create, and sends SIGHUP to the receiver. The receiver connects, receives one
// SendFiles, and answers as Report does.

// fetchDir is the directory of the name. It is replaced in a test.
var fetchDir = "/run"

// fetchTime is how long the receiver waits for the files. It reads no messages meanwhile.
const fetchTime = time.Second

// FetchName returns the name in /run where the receiver with that process ID fetches files.
func FetchName(pid int) string { return ".devlog-files-" + strconv.Itoa(pid) }

// Fetch returns the files that a hook has for the receiver with that process ID, and a
// descriptor for Report; -1 without a hook.
func Fetch(pid int) (files []File, answer int, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, -1, err
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: fetchDir + "/" + FetchName(pid)})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, -1, unix.Close(fd)
	}
	if err == nil {
		files, err = receiveAt(fd, fetchTime)
	}
	if err != nil {
		return nil, -1, errors.Join(fmt.Errorf("cannot receive the files from the hook: %w", err), unix.Close(fd))
	}
	return files, fd, nil
}

// Serve sends the files to the process, which fetches them at the listening socket, and
// returns its answer.
func Serve(listener, pid int, files []Passed, deadline time.Time) error {
	for {
		if err := Poll(time.Until(deadline), listener); err != nil {
			return err
		}
		conn, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
			continue
		}
		if err != nil {
			return err
		}
		peer, err := unix.GetsockoptUcred(conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil && int(peer.Pid) == pid {
			err = serve(conn, files, deadline)
			return errors.Join(err, unix.Close(conn))
		}
		_ = unix.Close(conn) // another process
	}
}

func serve(conn int, files []Passed, deadline time.Time) error {
	if err := SendFiles(conn, files); err != nil {
		return err
	}
	if err := Poll(time.Until(deadline), conn); err != nil {
		return err
	}
	var answer [1 << 10]byte
	n, err := unix.Read(conn, answer[:])
	if err != nil {
		return err
	}
	if text := string(bytes.TrimSpace(answer[:n])); text != ReportReady {
		return errors.New(text)
	}
	return nil
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
