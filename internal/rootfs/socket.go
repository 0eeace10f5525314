package rootfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
	"devlog/internal/names"
)

// Listener is the result of connect(2) to a socket.
type Listener struct {
	// Live says that somebody has the socket open.
	Live bool
	// Err is why no datagram can be sent there: ENOENT, ECONNREFUSED (nobody
	// listens), EPROTOTYPE (the socket is live, of another type), EACCES.
	Err error
}

// Listening finds out whether somebody listens on the socket with that name. It connects and
// sends nothing.
func (d *Dir) Listening(name string) (Listener, error) {
	f, _, err := d.Hold(name)
	if errors.Is(err, unix.ENOENT) {
		return Listener{Err: err}, nil
	}
	if err != nil {
		return Listener{}, err
	}
	defer f.Close()
	s, err := dirfd.Connect(int(f.Fd()), unix.SOCK_DGRAM)
	var failed *os.SyscallError
	if errors.As(err, &failed) {
		return Listener{}, fmt.Errorf("cannot make a socket: %w", err)
	}
	if err == nil {
		unix.Close(s)
	}
	return listener(err), nil
}

// listener reads the result of connect(2) on a unix(7) datagram socket.
func listener(err error) Listener {
	switch {
	case err == nil:
		return Listener{Live: true}
	case errors.Is(err, unix.EPROTOTYPE), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		// A dead socket without write permission answers EACCES too. It counts as live, so
		// it is left alone.
		return Listener{Live: true, Err: err}
	default:
		return Listener{Err: err}
	}
}

// MaxSocketPath is the longest path of a socket: sun_path of unix(7) without its NUL. Bind
// would accept longer ones, but no client could connect to them.
const MaxSocketPath = 107

// ErrChanged says that the file with a name is not the one that was inspected.
var ErrChanged = errors.New("it has changed meanwhile")

// NewSocket makes an unbound datagram socket.
func NewSocket() (int, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket: %w", err)
	}
	return s, nil
}

// backlog is how many connections wait to be accepted at a stream socket.
const backlog = 1024

// Bind binds a socket from newSocket to the name, with mode 0666, listens there unless it is a
// datagram socket, and returns it and the name's identity. In one step it replaces the file
// old, which the caller has inspected and nobody needs. If the name is another file by now,
// that file stays and the error is ErrChanged.
func (d *Dir) Bind(newSocket func() (int, error), name string, old Stat) (*os.File, ID, error) {
	return d.BindAs(names.TempPrefix, newSocket, name, old)
}

// BindAs is Bind with that beginning of the temporary name, which stays the socket's address
// (getsockname(2)).
func (d *Dir) BindAs(temp string, newSocket func() (int, error), name string, old Stat) (*os.File, ID, error) {
	s, err := newSocket()
	if err != nil {
		return nil, ID{}, err
	}
	f := os.NewFile(uintptr(s), d.path+"/"+name)
	tmp := temp + randomText()
	id, err := d.bind(s, tmp)
	if err == nil {
		if err = d.putAt(tmp, name, id, old); err != nil {
			if st, serr := d.Lstat(tmp); serr == nil && st.ID == id {
				_ = d.Unlink(tmp)
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, ID{}, err
	}
	return f, id, nil
}

// PutLink makes a link with this text and, as Bind does, replaces the file old by it. It
// returns the link's identity.
func (d *Dir) PutLink(text, name string, old Stat) (ID, error) {
	tmp := shortTempName()
	if err := d.Symlink(text, tmp); err != nil {
		return ID{}, err
	}
	held, st, err := d.Hold(tmp)
	if err == nil {
		defer held.Close()
		err = d.putAt(tmp, name, st.ID, old)
	}
	if err != nil {
		if now, serr := d.Lstat(tmp); serr == nil && now.ID == st.ID {
			_ = d.Unlink(tmp)
		}
		return ID{}, err
	}
	return st.ID, nil
}

// putAt replaces the file old by the file tmp, whose identity is ours.
func (d *Dir) putAt(tmp, name string, ours ID, old Stat) error {
	if old.Kind == Absent {
		err := d.RenameNew(tmp, name)
		switch {
		case noFlags(err):
			return d.putAtOld(tmp, name, old)
		case errors.Is(err, unix.EEXIST):
			return d.failed("make", name, ErrChanged)
		}
		return err
	}
	// While it is held no newer file can have the same identity.
	held, st, err := d.HoldOwn(name)
	if err == nil {
		defer held.Close()
		if st.ID != old.ID {
			return d.failed("replace", name, ErrChanged)
		}
		err = d.Exchange(tmp, name)
	}
	switch {
	case noFlags(err):
		return d.putAtOld(tmp, name, old)
	case errors.Is(err, unix.ENOENT):
		return d.failed("replace", name, ErrChanged)
	case err != nil:
		return err
	}
	out, err := d.Lstat(tmp)
	if err != nil {
		return err
	}
	if out.ID == old.ID {
		return d.Unlink(tmp)
	}
	if err := d.PutBack(tmp, name, ours); err != nil {
		return err
	}
	return d.failed("replace", name, ErrChanged)
}

// PutBack renames the file tmp back to name, which Exchange has just given to the file ours,
// and removes ours.
func (d *Dir) PutBack(tmp, name string, ours ID) error {
	if err := d.RenameNew(tmp, name); err == nil {
		return nil // somebody has removed ours
	}
	if err := d.Exchange(tmp, name); err != nil {
		return err
	}
	out, err := d.Lstat(tmp)
	if err != nil {
		return err
	}
	if out.ID != ours {
		// Meanwhile somebody has put another file there. It is newer than the one put
		// back, so it stays.
		if err := d.Exchange(tmp, name); err != nil {
			return err
		}
	}
	return d.Unlink(tmp)
}

// noFlags returns whether the file system does not support renameat2(2)'s flags.
func noFlags(err error) bool { return errors.Is(err, unix.EINVAL) }

// putAtOld is putAt with rename(2) alone: it cannot see a change between Lstat and rename.
func (d *Dir) putAtOld(tmp, name string, old Stat) error {
	st, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if st.Kind != old.Kind || st.ID != old.ID {
		return d.failed("replace", name, ErrChanged)
	}
	return d.Rename(tmp, name)
}

func (d *Dir) bind(s int, name string) (ID, error) {
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: d.procPath() + "/" + name}); err != nil {
		return ID{}, d.failed("bind a socket at", name, err)
	}
	st, err := d.ownSocket(name, nil)
	if kind, kerr := unix.GetsockoptInt(s, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && (kerr != nil || kind != unix.SOCK_DGRAM) {
		err = unix.Listen(s, backlog)
	}
	if err != nil {
		_ = d.Unlink(name)
		return ID{}, err
	}
	return st.ID, nil
}

// ownSocket sets the socket's owner and mode. With nil, everyone may write to it, whatever the
// umask is.
func (d *Dir) ownSocket(name string, o *Owner) (Stat, error) {
	f, st, err := d.Hold(name)
	if err != nil {
		return st, err
	}
	defer f.Close()
	// Somebody may have replaced the name: only a socket's mode is changed.
	if st.Kind != Socket {
		return st, d.failed("set the mode of", name, unix.ENOTSOCK)
	}
	mode := uint32(0o666)
	if o != nil {
		mode = o.Mode & 0o777
		if err := unix.Chown(handlePath(f), o.UID, o.GID); err != nil {
			return st, d.failed("set the owner of", name, err)
		}
	}
	if err := unix.Chmod(handlePath(f), mode); err != nil {
		return st, d.failed("set the mode of", name, err)
	}
	return st, nil
}

// handlePath returns a path that leads only to the file of the handle.
func handlePath(f *os.File) string { return file.Path(int(f.Fd())) }

// SharedTemps are Claim's temporary names. Leftovers of killed repairs are found by them: in a
// shared directory others can create any number of names, so it is never listed.
var SharedTemps = [...]string{names.TempPrefix + "0", names.TempPrefix + "1", names.TempPrefix + "2", names.TempPrefix + "3"}

// Claim calls make with a temporary name in a shared directory and returns the name. make must
// fail with EEXIST if the name exists. While Lock holds the directory's lock, the name is one
// of SharedTemps, unless all of them exist.
func (d *Dir) Claim(make func(tmp string) error) (tmp string, err error) {
	if d.locked {
		for _, tmp := range SharedTemps {
			if err := make(tmp); !errors.Is(err, unix.EEXIST) {
				return tmp, err
			}
		}
	}
	tmp = shortTempName()
	return tmp, make(tmp)
}

// TempName returns a unique hidden name for a file that is prepared beside name and then
// renamed to it.
func TempName(name string) string {
	const rest = 255 - len(names.TempPrefix) - 1 - randomLen // of NAME_MAX
	name = strings.TrimLeft(name, ".")
	return names.TempPrefix + name[:min(len(name), rest)] + "-" + randomText()
}

const randomLen = 10

// shortTempName returns a TempName that fits into sun_path after a handlePath.
func shortTempName() string { return names.TempPrefix + randomText() }

// randomText uses math/rand/v2, which nobody can guess either: crypto/rand takes longer to
// start than a repair takes.
func randomText() string {
	text := strconv.FormatUint(rand.Uint64()|1<<63, 32)
	return text[len(text)-randomLen:]
}
