// Package listen makes unix sockets that have a path. It replaces a stale socket, and never takes
// the path of a live one.
package listen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

const (
	// maxPath is the longest path in sun_path, without its NUL.
	maxPath = 107
	// backlog is how many connections can wait to be accepted. Further clients must wait to
	// connect.
	backlog = 1024
)

// socket is a socket that gets a path.
type socket struct {
	fd     int
	stream bool
	path   string
	id     file.ID
}

// At returns a socket of this kind (unix.SOCK_*) with mode 0666 at the path, and the ID of the
// file there. It replaces a stale socket; anything else there is an error. If asks is set, the
// kernel reports who sends each message to a datagram socket, from the first message on.
func At(path string, kind int, asks bool) (fd int, id file.ID, err error) {
	if len(path) > maxPath {
		return -1, id, fmt.Errorf("cannot listen at %s: the path is longer than %d bytes; hint: use a shorter one", path, maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return -1, id, fmt.Errorf("cannot make the directory of the socket %s: %w", path, err)
	}
	stale, err := findStale(path)
	if err != nil {
		return -1, id, err
	}
	if stale != nil {
		defer unix.Close(stale.handle)
	}
	s := &socket{path: path, stream: kind == unix.SOCK_STREAM}
	if s.fd, err = newSocket(kind); err != nil {
		return -1, id, fmt.Errorf("cannot make a socket for %s: %w", path, err)
	}
	if asks && !s.stream { // without it, messages come without their senders
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err := s.bind(stale); err != nil {
		_ = unix.Close(s.fd)
		return -1, id, fmt.Errorf("cannot listen at %s: %w", path, err)
	}
	return s.fd, s.id, nil
}

func newSocket(kind int) (int, error) {
	flags := unix.SOCK_CLOEXEC
	if kind == unix.SOCK_STREAM {
		flags |= unix.SOCK_NONBLOCK // for accept(2)
	}
	return unix.Socket(unix.AF_UNIX, kind|flags, 0)
}

// errLive means that another program listens at the path.
var errLive = errors.New("another program is receiving there; hint: stop it first or use another path")

// stale is a socket at which nobody listens.
type stale struct {
	// handle keeps the inode, so that no other file gets its number.
	handle int
	id     file.ID
}

// findStale returns the stale socket at the path; nil if the path does not exist. Anything
// else is an error.
func findStale(path string) (*stale, error) {
	handle, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	s := &stale{handle: handle}
	if err := s.inspect(path); err != nil {
		_ = unix.Close(handle)
		return nil, err
	}
	return s, nil
}

// inspect returns an error if the file at the path must not be replaced.
func (s *stale) inspect(path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(s.handle, &st); err != nil {
		return fmt.Errorf("cannot look at %s: %w", path, err)
	}
	s.id = file.IDOf(&st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return fmt.Errorf("cannot look at %s: %w", path, err)
		}
		return fmt.Errorf("cannot listen at %s: it is a symbolic link to %s; hint: use --listen with the link's target", path, target)
	default:
		return fmt.Errorf("cannot listen at %s: it is not a socket; hint: move it away or use another path", path)
	}
	fd, err := newSocket(unix.SOCK_DGRAM) // a stream socket would make a connection
	if err != nil {
		return fmt.Errorf("cannot make a socket to try %s: %w", path, err)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	_ = unix.Close(fd)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil
	case err == nil, errors.Is(err, unix.EPROTOTYPE):
		return fmt.Errorf("cannot listen at %s: %w", path, errLive)
	}
	return fmt.Errorf("cannot listen at %s: cannot find out whether the socket there is in use: %w", path, err)
}

// bind gives the socket its name, with the right mode, in one step. The path of a stale socket
// exists at every moment.
func (s *socket) bind(old *stale) error {
	dir, err := unix.Open(filepath.Dir(s.path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot look at its directory: %w", err)
	}
	defer unix.Close(dir)
	tmp := ".devlogd." + strconv.Itoa(os.Getpid())
	_ = unix.Unlinkat(dir, tmp, 0) // left by a crash
	address := filepath.Join(filepath.Dir(s.path), tmp)
	if len(address) > maxPath {
		address = file.Path(dir) + "/" + tmp
	}
	// The umask gives the socket its mode from the start.
	mask := unix.Umask(0o111)
	err = unix.Bind(s.fd, &unix.SockaddrUnix{Name: address})
	unix.Umask(mask)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := s.publish(dir, tmp, old); err != nil {
		if id, _ := file.Named(dir, tmp); id == s.id { // or another program's socket, which could not be put back
			_ = unix.Unlinkat(dir, tmp, 0)
		}
		return err
	}
	return nil
}

// publish makes the socket ready and renames it to its name.
func (s *socket) publish(dir int, tmp string, old *stale) error {
	s.id, _ = file.Named(dir, tmp)
	if s.stream { // before clients can find it
		if err := unix.Listen(s.fd, backlog); err != nil {
			return fmt.Errorf("listen: %w", err)
		}
	}
	if err := unix.Fchmodat(dir, tmp, 0o666, 0); err != nil { // a default ACL overrides the umask
		return fmt.Errorf("chmod: %w", err)
	}
	name := filepath.Base(s.path)
	if old != nil {
		done, err := old.replace(dir, tmp, name)
		if done || err != nil {
			return err
		}
	}
	return claim(dir, tmp, name)
}

// claim renames the file to a name that must not exist.
func claim(dir int, tmp, name string) error {
	err := unix.Renameat2(dir, tmp, dir, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // not on this file system
		if err = unix.Linkat(dir, tmp, dir, name, 0); err == nil {
			err = unix.Unlinkat(dir, tmp, 0)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return errLive // bound since we looked
	}
	if err != nil {
		return fmt.Errorf("cannot rename the socket: %w", err)
	}
	return nil
}

// replace replaces the stale socket, unless it is gone. A socket that another program has
// bound there since stays.
func (s *stale) replace(dir int, tmp, name string) (done bool, err error) {
	out := tmp
	err = unix.Renameat2(dir, tmp, dir, name, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EINVAL): // not on this file system: look, then replace
		out = name
		if id, _ := file.Named(dir, out); id != s.id {
			return false, nil
		}
		err = unix.Renameat(dir, tmp, dir, name)
		if err == nil {
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("cannot replace the stale socket: %w", err)
	}
	if id, _ := file.Named(dir, out); id == s.id {
		_ = unix.Unlinkat(dir, tmp, 0) // harmless leftovers
		return true, nil
	}
	err = unix.Renameat2(dir, tmp, dir, name, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) { // somebody removed ours meanwhile
		err = claim(dir, tmp, name)
	}
	if err != nil {
		return false, fmt.Errorf("cannot put another program's socket back: %w", err)
	}
	return false, errLive
}
