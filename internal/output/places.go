package output

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	stdoutFD    = 1
	streamFlags = unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
)

// openFIFO opens a named pipe, for reading as well: so it is open without a
// reader too, and what is in it stays for the next one.
func openFIFO(path string) (stream, error) {
	fd, err := openRetry(path, unix.O_RDWR|streamFlags, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("open the pipe %s: %w: make one with mkfifo", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the pipe %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open the pipe %s: it is no named pipe: make one with mkfifo", path)
	}
	f := wrap(fd, false)
	f.fifo = true
	return f, nil
}

// countUnread returns how many lines are in a pipe that nobody but us has open
// for reading: fd is open for reading and writing, and will be closed.
func countUnread(fd int) (lines uint64) {
	path := fdPath(fd)
	w, err := openRetry(path, unix.O_WRONLY|streamFlags, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(w)
	// The descriptor stays what it was, but writes only: the one reader less
	// shows whether there is another.
	if unix.Dup3(w, fd, unix.O_CLOEXEC) != nil {
		return 0
	}
	poll := []unix.PollFd{{Fd: int32(w)}}
	if n, err := unix.Poll(poll, 0); err != nil || n == 0 || poll[0].Revents&unix.POLLERR == 0 {
		return 0
	}
	r, err := openRetry(path, unix.O_RDONLY|streamFlags, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(r)
	buf := make([]byte, batchSize)
	for {
		n, err := unix.Read(r, buf)
		if err != nil || n <= 0 {
			return lines
		}
		lines += uint64(bytes.Count(buf[:n], newline))
	}
}

// openTerminal opens a terminal, which does not become ours.
func openTerminal(path string) (stream, error) {
	fd, err := openRetry(path, unix.O_WRONLY|streamFlags, 0)
	if err != nil {
		return nil, fmt.Errorf("open the terminal %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open the terminal %s: it is not a device", path)
	}
	return wrap(fd, false), nil
}

// openStdout opens the standard output that is descriptor fd. Opened anew it
// can be made not to wait, which would surprise others that use the same open
// file description; a file has its offset there, and a socket cannot be
// opened.
func openStdout(fd int) (stream, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("use the standard output: %w", err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFSOCK {
		if own, err := openRetry(fdPath(fd), unix.O_WRONLY|streamFlags, 0); err == nil {
			return wrap(own, false), nil
		}
	}
	f := wrap(fd, true)
	f.owned = false
	return f, nil
}

// fdPath is a path that leads to the file of the descriptor.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
