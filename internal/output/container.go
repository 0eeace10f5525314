package output

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/pidfd"
)

// container is where the standard output of a container's first process is.
type container struct {
	init func() int // its pidfd; -1 if it is process 1 here
	pin  int        // a handle of the standard output at the start, or -1
}

const errEnded = cause("its first process has ended")

// open opens the standard output anew, so that what we do to it is not done
// to the container. What cannot be opened (a socket) or has its offset with
// the container (a file) is shared with it, if that is allowed.
func (c *container) open() (stream, error) {
	fd, shared, err := c.find()
	if err != nil && c.pin >= 0 { // a short life: it logged, and has ended
		if own, pinErr := file.Open(file.Path(c.pin), unix.O_WRONLY|unix.O_APPEND, 0, file.Any); pinErr == nil {
			fd, shared, err = own, false, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the container's standard output: %w", err)
	}
	return wrap(fd, shared), nil
}

func (c *container) find() (fd int, shared bool, err error) {
	path, err := c.path()
	if err != nil {
		return -1, false, err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return -1, false, c.because(err)
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFREG || kind == unix.S_IFSOCK {
		if fd, err := c.share(); err == nil {
			return fd, true, nil
		}
	}
	fd, err = file.Open(path, unix.O_WRONLY|unix.O_APPEND, 0, file.Any)
	if err != nil {
		if fd, err := c.share(); err == nil {
			return fd, true, nil
		}
		return -1, false, c.because(err)
	}
	if c.ended() { // the number may be another process's already
		_ = unix.Close(fd)
		return -1, false, errEnded
	}
	return fd, false, nil
}

// because is why something about the first process failed.
func (c *container) because(err error) error {
	if c.ended() {
		return errEnded
	}
	return err
}

// share returns a duplicate of the first process's descriptor.
func (c *container) share() (int, error) {
	init := c.init()
	if init < 0 {
		var err error
		if init, err = unix.PidfdOpen(1, 0); err != nil {
			return -1, err
		}
		defer unix.Close(init)
	}
	return unix.PidfdGetfd(init, stdoutFD, 0)
}

// ended says that the first process, which the pidfd holds, has ended.
func (c *container) ended() bool {
	init := c.init()
	if init < 0 {
		return false // our end as well
	}
	return pidfd.Ended(init)
}

// path is the name of the first process's standard output (proc_pid_fd(5)).
func (c *container) path() (string, error) {
	pid := 1
	if init := c.init(); init >= 0 {
		var err error
		if pid, err = pidfd.PID(init); errors.Is(err, unix.ESRCH) {
			return "", errEnded
		}
		if err != nil {
			return "", err
		}
	}
	return "/proc/" + strconv.Itoa(pid) + "/fd/1", nil
}

// pinNow notes what the standard output is now, for a container that logs and
// ends at once. O_PATH: a pipe's reader still sees its end.
func (c *container) pinNow() {
	path, err := c.path()
	if err != nil {
		return
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	var st unix.Stat_t
	device := unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFCHR // /dev/null, before there is a terminal
	if device || c.ended() {
		_ = unix.Close(fd)
		return
	}
	c.pin = fd
}
