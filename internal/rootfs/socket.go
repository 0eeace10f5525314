package rootfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Listener is the answer to a connect(2) to a socket's name.
type Listener struct {
	// Live says that somebody has the socket open.
	Live bool
	// Err is why no datagram can be sent there: ENOENT, ECONNREFUSED (nobody
	// listens), EPROTOTYPE (the socket is live, of another type), EACCES.
	Err error
}

// Listening tries whether the name is a socket that somebody listens on. It
// connects and sends nothing.
func (d *Dir) Listening(name string) (Listener, error) {
	f, _, err := d.Hold(name)
	if errors.Is(err, unix.ENOENT) {
		return Listener{Err: err}, nil
	}
	if err != nil {
		return Listener{}, err
	}
	defer f.Close()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return Listener{}, fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(s)
	// By the handle, not by the name: the name may be a link by now.
	err = unix.Connect(s, &unix.SockaddrUnix{Name: handlePath(f)})
	return listener(err), nil
}

// listener reads the result of connect(2) on a unix(7) datagram socket.
func listener(err error) Listener {
	switch {
	case err == nil:
		return Listener{Live: true}
	case errors.Is(err, unix.EPROTOTYPE), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		// EACCES is also the answer of a stale socket that denies writing:
		// what cannot be told apart counts as live, so it is left alone.
		return Listener{Live: true, Err: err}
	default:
		return Listener{Err: err}
	}
}

// Bind makes a datagram socket with this name, for everyone to write to (mode
// 0666), and returns it with the identity of the name. What has the name is
// replaced in one step, so the caller must know that nobody listens there.
func (d *Dir) Bind(name string) (*os.File, ID, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, ID{}, fmt.Errorf("make a socket: %w", err)
	}
	f := os.NewFile(uintptr(s), d.path+"/"+name)
	tmp := TempName(name)
	id, err := d.bind(s, tmp)
	if err == nil {
		if err = d.Rename(tmp, name); err != nil {
			_ = d.Unlink(tmp)
		}
	}
	if err != nil {
		f.Close()
		return nil, ID{}, err
	}
	return f, id, nil
}

func (d *Dir) bind(s int, name string) (ID, error) {
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: d.procPath() + "/" + name}); err != nil {
		return ID{}, d.failed("bind a socket at", name, err)
	}
	st, err := d.chmodSocket(name)
	if err != nil {
		_ = d.Unlink(name)
		return ID{}, err
	}
	return st.ID, nil
}

// chmodSocket lets everyone write to the socket, whatever the umask was.
func (d *Dir) chmodSocket(name string) (Stat, error) {
	f, st, err := d.Hold(name)
	if err != nil {
		return st, err
	}
	defer f.Close()
	// Somebody swapped the name: no mode is changed but the socket's own.
	if st.Kind != Socket {
		return st, d.failed("set the mode of", name, unix.ENOTSOCK)
	}
	if err := unix.Chmod(handlePath(f), 0o666); err != nil {
		return st, d.failed("set the mode of", name, err)
	}
	return st, nil
}

// handlePath is a path that leads to the file of the handle, and nowhere else.
func handlePath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// TempName is a hidden name that nobody else uses, for something that is
// prepared beside name and then renamed to it.
func TempName(name string) string {
	return ".devlog-" + name + "-" + rand.Text()[:10]
}
