package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a socket to receive from.
type socket struct {
	fd     int
	stream bool     // it listens for connections
	path   string   // if we have bound it ourselves
	at     *cleanup // of a passed one: its name; nil if that is not known
	id     fileID   // of the name
	run    int      // number of the repair that handed it over

	bucket bucket    // of the messages that may be read
	waits  time.Time // until when it is not read because of that; zero if it is
}

// inheritSocket checks that a passed descriptor is a socket we can receive from.
func inheritSocket(fd int) (*socket, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, fmt.Errorf("use passed descriptor %d as a socket: %w", fd, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("use passed descriptor %d as a socket: %w", fd, err)
	}
	stream := kind == unix.SOCK_STREAM
	if stream {
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			return nil, fmt.Errorf("use passed descriptor %d: it is a stream socket that does not listen (Accept=no in a systemd socket unit)", fd)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("use passed descriptor %d as a socket: %w", fd, err)
		}
	}
	if domain != unix.AF_UNIX || kind != unix.SOCK_DGRAM && !stream {
		return nil, fmt.Errorf("use passed descriptor %d: it is not a unix datagram or stream socket (ListenDatagram= or ListenStream= in a systemd socket unit)", fd)
	}
	return &socket{fd: fd, stream: stream}, nil
}

// maxPath is the length of sun_path without its terminating NUL.
const maxPath = 107

// listen binds a socket of this kind (unix.SOCK_*) with mode 0666 at path. A stale socket there is
// replaced; a live one, or anything else, is an error.
func listen(path string, kind int) (*socket, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("listen at %s: the path is longer than %d bytes: use a shorter one", path, maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the socket %s: %w", path, err)
	}
	stale, err := findStale(path)
	if err != nil {
		return nil, err
	}
	if stale != nil {
		defer unix.Close(stale.handle)
	}
	fd, err := newSocket(kind)
	if err != nil {
		return nil, fmt.Errorf("make a socket for %s: %w", path, err)
	}
	s := &socket{fd: fd, path: path, stream: kind == unix.SOCK_STREAM}
	if err := s.bind(stale); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	return s, nil
}

func newSocket(kind int) (int, error) {
	flags := unix.SOCK_CLOEXEC
	if kind == unix.SOCK_STREAM {
		flags |= unix.SOCK_NONBLOCK // for accept(2), which has no flag for it
	}
	return unix.Socket(unix.AF_UNIX, kind|flags, 0)
}

// unlink removes the name of the socket if it is still ours.
func (s *socket) unlink() {
	if s.path == "" {
		return
	}
	var st unix.Stat_t
	if unix.Lstat(s.path, &st) == nil && idOf(&st) == s.id {
		_ = unix.Unlink(s.path) // we are ending; there is nobody to tell
	}
}
