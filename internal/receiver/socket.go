package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// socket is a socket to receive from.
type socket struct {
	fd   int
	path string // if we have bound it ourselves
	dev  uint64 // of the name we have bound
	ino  uint64
}

// inheritSocket checks that a passed descriptor is a socket we can receive from.
func inheritSocket(fd int, name string) (*socket, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, fmt.Errorf("use passed descriptor %d (%s) as a socket: %w", fd, name, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("use passed descriptor %d (%s) as a socket: %w", fd, name, err)
	}
	if domain != unix.AF_UNIX || kind != unix.SOCK_DGRAM {
		return nil, fmt.Errorf("use passed descriptor %d (%s): it is not a unix datagram socket (ListenDatagram= in a systemd socket unit)", fd, name)
	}
	return &socket{fd: fd}, nil
}

// maxPath is the length of sun_path without its terminating NUL.
const maxPath = 107

// listen binds a socket with mode 0666 at path. A stale socket there is
// replaced; a live one, or anything else, is an error.
func listen(path string) (*socket, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("listen at %s: the path is longer than %d bytes: use a shorter one", path, maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the socket %s: %w", path, err)
	}
	stale, err := isStale(path)
	if err != nil {
		return nil, err
	}
	fd, err := newSocket()
	if err != nil {
		return nil, fmt.Errorf("make a socket for %s: %w", path, err)
	}
	s := &socket{fd: fd, path: path}
	if err := s.bind(stale); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return s, nil
}

func newSocket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
}

// isStale reports whether path is a socket that nobody listens at; false
// without an error is that there is nothing.
func isStale(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return false, fmt.Errorf("look at %s: %w", path, err)
		}
		return false, fmt.Errorf("listen at %s: it is a symbolic link to %s: use --listen with the link's target", path, target)
	default:
		return false, fmt.Errorf("listen at %s: there is something that is not a socket: move it away or use another path", path)
	}
	fd, err := newSocket()
	if err != nil {
		return false, fmt.Errorf("make a socket to try %s: %w", path, err)
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	_ = unix.Close(fd)
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return true, nil
	case err == nil, errors.Is(err, unix.EPROTOTYPE):
		return false, fmt.Errorf("listen at %s: another program is receiving there: stop it first or use another path", path)
	}
	return false, fmt.Errorf("listen at %s: see whether the socket there is in use: %w", path, err)
}

// bind gives the socket its name. A stale one is replaced without a moment in
// which there is none.
func (s *socket) bind(stale bool) error {
	name := s.path
	if stale {
		name = filepath.Join(filepath.Dir(s.path), ".devlogd."+strconv.Itoa(os.Getpid()))
		if len(name) > maxPath {
			name = s.path // a moment without a name is better than none at all
		}
		_ = unix.Unlink(name) // left over by a crash
	}
	// With the umask the socket has its mode at once.
	mask := unix.Umask(0o111)
	err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: name})
	unix.Umask(mask)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := s.settle(name); err != nil {
		_ = unix.Unlink(name)
		return err
	}
	return nil
}

func (s *socket) settle(name string) error {
	if err := unix.Chmod(name, 0o666); err != nil { // a default ACL overrides the umask
		return fmt.Errorf("chmod: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return fmt.Errorf("look at the socket: %w", err)
	}
	s.dev, s.ino = uint64(st.Dev), st.Ino
	if name != s.path {
		if err := unix.Rename(name, s.path); err != nil {
			return fmt.Errorf("replace the stale socket: %w", err)
		}
	}
	return nil
}

// unlink removes the name of the socket if it is still ours.
func (s *socket) unlink() {
	if s.path == "" {
		return
	}
	var st unix.Stat_t
	if unix.Lstat(s.path, &st) == nil && uint64(st.Dev) == s.dev && st.Ino == s.ino {
		_ = unix.Unlink(s.path) // we are ending; there is nobody to tell
	}
}
