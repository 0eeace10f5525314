package sink

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/output"
	"devlog/internal/safepath"
)

const stdoutFD = 1

// openFIFO opens a named pipe, also for reading: then it is open without a reader too, and its
// content stays for the next reader.
func openFIFO(p safepath.Place) (stream, error) {
	fd, err := p.Open(unix.O_RDWR, 0, file.FIFO)
	switch {
	case errors.Is(err, file.ErrType):
		return nil, fmt.Errorf("cannot open the pipe %s: it is not a named pipe; hint: make one with mkfifo", p.Path)
	case errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("cannot open the pipe %s: %w; hint: make one with mkfifo", p.Path, err)
	case err != nil:
		return nil, fmt.Errorf("cannot open the pipe %s: %w", p.Path, err)
	}
	f := wrap(fd, false)
	f.fifo = true
	return f, nil
}

// countUnread returns how many lines are in a pipe that only this process has open for
// reading. fd is open for reading and writing, and is closed afterwards.
func countUnread(fd int) (lines uint64) {
	path := file.Path(fd)
	w, err := file.Open(path, unix.O_WRONLY, 0, file.Any)
	if err != nil {
		return 0
	}
	defer unix.Close(w)
	// Replace the descriptor by one for writing only. Then the pipe shows whether there is
	// another reader.
	if unix.Dup3(w, fd, unix.O_CLOEXEC) != nil {
		return 0
	}
	poll := []unix.PollFd{{Fd: int32(w)}}
	if n, err := unix.Poll(poll, 0); err != nil || n == 0 || poll[0].Revents&unix.POLLERR == 0 {
		return 0
	}
	r, err := file.Open(path, unix.O_RDONLY, 0, file.Any)
	if err != nil {
		return 0
	}
	defer unix.Close(r)
	buf := make([]byte, output.BatchSize)
	for {
		n, err := unix.Read(r, buf)
		if err != nil || n <= 0 {
			return lines
		}
		lines += uint64(bytes.Count(buf[:n], []byte{'\n'}))
	}
}

// openTerminal opens a terminal, without making it the controlling terminal.
func openTerminal(p safepath.Place) (stream, error) {
	fd, err := p.Open(unix.O_WRONLY, 0, file.Device)
	switch {
	case errors.Is(err, file.ErrType):
		return nil, fmt.Errorf("cannot open the terminal %s: it is not a device", p.Path)
	case err != nil:
		return nil, fmt.Errorf("cannot open the terminal %s: %w", p.Path, err)
	case !isTerminal(fd): // for example /dev/mem
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot open the terminal %s: it is another device", p.Path)
	}
	return wrap(fd, false), nil
}

// isTerminal is isatty(3).
func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// HoldTerminal is safepath.Hold for a terminal only.
func HoldTerminal(path, below string) (int, error) {
	held, err := safepath.Hold(path, below, file.Device)
	if err != nil {
		return -1, err
	}
	fd, err := file.Open(file.Path(held), unix.O_WRONLY, 0, file.Device)
	if err == nil {
		if !isTerminal(fd) {
			err = file.ErrType
		}
		_ = unix.Close(fd)
	}
	if err != nil {
		_ = unix.Close(held)
		return -1, err
	}
	return held, nil
}

// openStdout opens the standard output fd. It opens the file again, so that it can be made
// nonblocking without affecting others that share the open file description. It shares the
// description of a file, whose offset others use, and of a socket, which cannot be opened.
func openStdout(fd int) (stream, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot use the standard output: %w", err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFSOCK {
		if own, err := file.Open(file.Path(fd), unix.O_WRONLY, 0, file.Any); err == nil {
			return wrap(own, false), nil
		}
	}
	f := wrap(fd, true)
	f.owned = false
	return f, nil
}
