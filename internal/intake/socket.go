package intake

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/listen"
)

// Socket is a socket to receive from.
type Socket struct {
	FD      int
	Stream  bool    // it listens for connections
	Journal bool    // it receives entries of the journal, or standard outputs
	Path    string  // where Listen bound it; otherwise empty
	ID      file.ID // of the file at its path; zero if not known

	bucket bucket    // of the messages that may be read
	waits  time.Time // until when it is paused because of the rate; zero if it is not
}

// Inherit returns the socket that was passed as this descriptor. It returns an error if
// nothing can be received from it.
func Inherit(fd int) (*Socket, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, fmt.Errorf("cannot use passed descriptor %d as a socket: %w", fd, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("cannot use passed descriptor %d as a socket: %w", fd, err)
	}
	stream := kind == unix.SOCK_STREAM
	if stream {
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil || listens == 0 {
			return nil, fmt.Errorf("cannot use passed descriptor %d: it is a stream socket that does not listen (Accept=no in a systemd socket unit)", fd)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("cannot use passed descriptor %d as a socket: %w", fd, err)
		}
	}
	if domain != unix.AF_UNIX || kind != unix.SOCK_DGRAM && !stream {
		return nil, fmt.Errorf("cannot use passed descriptor %d: it is not a unix datagram or stream socket (ListenDatagram= or ListenStream= in a systemd socket unit)", fd)
	}
	return &Socket{FD: fd, Stream: stream}, nil
}

// Listen returns a socket of this kind (unix.SOCK_*) at the path; see listen.At.
func Listen(path string, kind int, asks bool) (*Socket, error) {
	fd, id, err := listen.At(path, kind, asks)
	if err != nil {
		return nil, err
	}
	return &Socket{FD: fd, Path: path, ID: id, Stream: kind == unix.SOCK_STREAM}, nil
}

// Unlink removes the name from Listen, if it still belongs to the socket.
func (s *Socket) Unlink() {
	if s.Path == "" {
		return
	}
	if id, _ := file.Named(unix.AT_FDCWD, s.Path); id == s.ID {
		_ = unix.Unlink(s.Path)
	}
}

// askSenders makes the kernel report who sends each message. If that fails, messages are
// received without it.
func (s *Socket) askSenders() {
	if !s.Stream {
		_ = unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
}

// refuseFiles has a send fail that passes open files (since Linux 6.16). The kernel would close
// them when this process reads the message, and the close of a socket waits for as long as its
// owner has set (SO_LINGER of socket(7)). Other kernels wait for about 50 ms: a read is a raw
// call, see file.CloseNow. Entries of the journal may come in a file.
func (s *Socket) refuseFiles() {
	if !s.Journal || s.Stream {
		_ = unix.SetsockoptInt(s.FD, unix.SOL_SOCKET, unix.SO_PASSRIGHTS, 0)
	}
}
