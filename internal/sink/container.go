package sink

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/output"
	"devlog/internal/pidfd"
)

// container finds the standard output of a container's first process.
type container struct {
	init func() int // its pidfd; -1 if it is process 1 here
	pin  int        // a handle of the standard output at the start; -1 for none
	// take is pidfd_getfd(2).
	take func(pidfd, fd, flags int) (int, error)
}

const (
	errEnded = output.Cause("its first process has ended")
	// errNotTheirs: writing would exceed the container's privileges with this process's. The
	// name in /proc opens a file for writing even if the container has it open for reading
	// only, or with O_PATH, which needs no permission.
	errNotTheirs = output.Cause("its first process may not write there")
)

// open opens the standard output again, so that changes to the file description do not affect
// the container. A socket cannot be opened, and a file's offset must be the container's: these
// are shared with the container, if that is permitted.
func (c *container) open() (stream, error) {
	fd, shared, err := c.find()
	if err != nil && c.pin >= 0 { // a short-lived container: it has logged and ended
		if own, pinErr := openOwn(file.Path(c.pin)); pinErr == nil {
			fd, shared, err = own, false, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the container's standard output: %w", err)
	}
	return wrap(fd, shared), nil
}

func (c *container) find() (fd int, shared bool, err error) {
	fd, kind, err := c.share()
	if err != nil {
		return -1, false, c.because(err)
	}
	if kind == unix.S_IFREG || kind == unix.S_IFSOCK {
		return fd, true, nil
	}
	own, err := openOwn(file.Path(fd))
	if err != nil && !isHandle(fd) {
		return fd, true, nil
	}
	file.CloseNow(fd)
	if err != nil {
		return -1, false, c.because(err)
	}
	return own, false, nil
}

// isHandle returns whether the descriptor itself cannot be written to.
func isHandle(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return err != nil || flags&unix.O_PATH != 0
}

func openOwn(path string) (int, error) {
	return file.Open(path, unix.O_WRONLY|unix.O_APPEND, 0, file.Any)
}

// because returns why an access to the first process failed.
func (c *container) because(err error) error {
	if c.ended() {
		return errEnded
	}
	return err
}

// share returns a duplicate of the first process's descriptor, and the type of its file. If
// other processes' descriptors cannot be duplicated (Linux before 5.6, a filter, another
// user's process), it returns a handle of a pipe or terminal.
func (c *container) share() (fd int, kind uint32, err error) {
	init := c.init()
	if init < 0 {
		if init, err = unix.PidfdOpen(1, 0); err != nil {
			return -1, 0, err
		}
		defer unix.Close(init)
	}
	var st unix.Stat_t
	if fd, err = c.take(init, stdoutFD, 0); err != nil {
		return c.hold(err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil && !mayWrite(flags) {
		err = errNotTheirs
	}
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		file.CloseNow(fd)
		return -1, 0, err
	}
	return fd, st.Mode & unix.S_IFMT, nil
}

// hold is share through the name in /proc. The name may change to another file in between, so
// it accepts only a pipe or a terminal, with which nothing is gained.
func (c *container) hold(why error) (fd int, kind uint32, err error) {
	path, err := c.path()
	if err != nil {
		return -1, 0, err
	}
	if fd, err = file.Open(path, unix.O_PATH, 0, file.Any); err != nil {
		return -1, 0, err
	}
	info, err := os.ReadFile(strings.Replace(path, "/fd/", "/fdinfo/", 1))
	if err == nil && !mayWrite(parseFlags(info)) {
		err = errNotTheirs
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if kind = st.Mode & unix.S_IFMT; err == nil && kind != unix.S_IFIFO && !isPTY(&st) {
		err = why
	}
	if err == nil && c.ended() { // the ID may already belong to another process
		err = errEnded
	}
	if err != nil {
		file.CloseNow(fd)
		return -1, 0, err
	}
	return fd, kind, nil
}

// mayWrite returns whether a descriptor with these flags is open for writing.
func mayWrite(flags int) bool {
	return flags&unix.O_PATH == 0 && flags&unix.O_ACCMODE != unix.O_RDONLY
}

// isPTY returns whether it is a terminal of devpts (the kernel's
// Documentation/admin-guide/devices.txt: 136 to 143).
func isPTY(st *unix.Stat_t) bool {
	major := unix.Major(file.DeviceOf(st))
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && major >= 136 && major <= 143
}

// parseFlags returns the flags in a descriptor's fdinfo (proc_pid_fdinfo(5)). If there are
// none, it returns flags that permit nothing.
func parseFlags(info []byte) int {
	if flags, err := strconv.ParseInt(pidfd.Field(string(info), "flags"), 8, 64); err == nil {
		return int(flags)
	}
	return unix.O_PATH
}

// ended returns whether the first process has ended.
func (c *container) ended() bool {
	init := c.init()
	if init < 0 {
		return false // it counts as running
	}
	return pidfd.Ended(init)
}

// path returns the name of the first process's standard output (proc_pid_fd(5)).
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

// isPipe returns whether the standard output at the start was an unnamed pipe, which a sandbox
// can open by its handle. It cannot open a named pipe or a file that way, and nobody can open
// a socket.
func (c *container) isPipe() bool {
	return c.pin >= 0 && isUnnamed(c.pin)
}

// isUnnamed returns whether the descriptor is that of a pipe without a name.
func isUnnamed(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PIPEFS_MAGIC
}

// pinNow records the present standard output, for a container that logs and ends at once. A
// pipe without a name is kept open for writing: when the last writer is gone, engines close the
// reading end, and messages that are still on their way would be lost. Its reader sees the end
// once this process has ended, too, which is soon after the container.
func (c *container) pinNow() {
	fd, kind, err := c.share()
	if err != nil {
		return
	}
	defer file.CloseNow(fd)
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK { // /dev/null, before there is a terminal
		return
	}
	flags := unix.O_PATH
	if isUnnamed(fd) {
		flags = unix.O_WRONLY | unix.O_APPEND
	}
	if pin, err := file.Open(file.Path(fd), flags, 0, file.Any); err == nil {
		c.pin = pin
	}
}

// unpin closes the handle.
func (c *container) unpin() {
	if c.pin >= 0 {
		file.CloseNow(c.pin)
		c.pin = -1
	}
}
