package watcher

import (
	"errors"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/syslog"
)

// container is the container's files and first process, seen from outside.
type container struct {
	root *os.File
	init *os.File // its first process (pidfd); nil for none
	host hostSocket
}

// mark identifies what is at /dev/log.
type mark struct {
	id   file.ID
	text string // of a link; otherwise empty
}

// openDev opens a handle on the root's /dev.
func (c *container) openDev() (int, error) {
	root := int(c.root.Fd())
	fd, err := dirfd.OpenInRoot(root, names.Dev, unix.O_DIRECTORY)
	if errors.Is(err, dirfd.ErrNoOpenat2) {
		fd, err = unix.Openat(root, names.Dev[1:], unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// devLog returns what is at /dev/log; zero for nothing.
func (c *container) devLog() (m mark) {
	dev, err := c.openDev()
	if err != nil {
		return m
	}
	defer unix.Close(dev)
	m.id, _ = Name{Dir: dev, Name: names.Log}.lookup()
	m.text, _ = dirfd.Readlink(dev, names.Log) // empty if it is not a link
	return m
}

// openTarget opens a handle on the directory that /dev/log points into. name is the name
// there.
func (c *container) openTarget() (fd int, name string, err error) {
	dir, name := path.Split(c.devLog().text)
	if name == "" {
		return -1, "", unix.ENOENT
	}
	if !path.IsAbs(dir) {
		dir = path.Join(names.Dev, dir)
	}
	fd, err = dirfd.OpenInRoot(int(c.root.Fd()), dir, unix.O_DIRECTORY)
	return fd, name, err
}

// openLog opens a handle on the file that /dev/log points to.
func (c *container) openLog() (int, error) {
	return dirfd.OpenInRoot(int(c.root.Fd()), names.LogPath, 0)
}

// resolve returns the file that /dev/log points to.
func (c *container) resolve() (file.ID, error) {
	fd, err := c.openLog()
	if err != nil {
		return file.ID{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return file.ID{}, err
	}
	return file.IDOf(&st), nil
}

// isOrphaned returns whether nobody listens where /dev/log points.
func (c *container) isOrphaned() bool {
	fd, err := c.openLog()
	if err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	defer unix.Close(fd)
	to, err := dirfd.Connect(fd, unix.SOCK_DGRAM)
	if err == nil {
		_ = unix.Close(to)
		return false
	}
	// Other files refuse a connection too, but the watcher must not replace them.
	var st unix.Stat_t
	return errors.Is(err, unix.ECONNREFUSED) && unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}

// Tell sends a message to whoever listens at the container's /dev/log, for an Owner without
// outputs of its own. It returns whether that worked. A container must not get messages for
// the host's administrator.
func (w *Watcher) Tell(m *syslog.Message) bool {
	if w.container.host.lost {
		return false
	}
	fd, err := w.container.openLog()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	s, err := dirfd.Connect(fd, unix.SOCK_DGRAM)
	if errors.Is(err, unix.EPROTOTYPE) {
		s, err = dirfd.Connect(fd, unix.SOCK_STREAM)
	}
	if err != nil {
		return false
	}
	defer unix.Close(s)
	alike := *m
	alike.PID = nil
	raw := syslog.AppendBody([]byte("<"+strconv.Itoa(int(m.Priority()))+">"), &alike)
	return unix.Send(s, raw, unix.MSG_NOSIGNAL) == nil
}

// inMounts calls f in the container's mount namespace. Kernels before 5.8 cannot enter it by
// pidfd.
func (c *container) inMounts(f func() error) error {
	if c.init == nil {
		return f()
	}
	return dirfd.InMounts(c.init, f)
}

// openUncovered opens a handle on the directory without the mounts below it. It needs
// CAP_SYS_ADMIN.
func (c *container) openUncovered(dir int) (fd int, err error) {
	err = c.inMounts(func() (err error) {
		fd, err = unix.OpenTree(dir, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		return err
	})
	return fd, err
}
