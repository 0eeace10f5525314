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
		// EACCES is also the answer of a stale socket that denies writing:
		// what cannot be told apart counts as live, so it is left alone.
		return Listener{Live: true, Err: err}
	default:
		return Listener{Err: err}
	}
}

// MaxSocketPath is how long a socket's path can be: sun_path of unix(7) without
// its NUL. Bind itself takes longer ones, which no client can name.
const MaxSocketPath = 107

// ErrChanged says that a name is no longer what was seen there before.
var ErrChanged = errors.New("it has changed meanwhile")

// NewSocket makes a datagram socket without a name.
func NewSocket() (int, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket: %w", err)
	}
	return s, nil
}

// Bind makes a datagram socket, with newSocket, gives it this name, for everyone
// to write to (mode 0666), and returns it with the identity of the name. It
// replaces, in one step, only the file that the caller has seen there and knows
// that nobody needs, old. Where somebody else has put his own there since, that
// stays and the error is ErrChanged.
func (d *Dir) Bind(newSocket func() (int, error), name string, old Stat) (*os.File, ID, error) {
	s, err := newSocket()
	if err != nil {
		return nil, ID{}, err
	}
	f := os.NewFile(uintptr(s), d.path+"/"+name)
	tmp := shortTempName()
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

// PutLink makes a link with this text and gives it the name, in place of the
// file old that the caller has seen there, as Bind does. It returns the link's
// identity.
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

// putAt gives the file tmp, that has the identity ours, the name in place of
// the file old.
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
	// Held, so that no newer file can have the same identity.
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

// PutBack gives the file tmp its name back, where the file ours, put there by
// Exchange, has stood for a moment, and removes ours.
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
		// In that moment somebody has put a file of his own there, which is
		// newer than the one put back: it stays.
		if err := d.Exchange(tmp, name); err != nil {
			return err
		}
	}
	return d.Unlink(tmp)
}

// noFlags says that the file system, or the kernel, has none of renameat2(2)'s
// flags.
func noFlags(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) }

// putAtOld is putAt where there is only rename(2): what somebody does between
// the last look and that goes unseen.
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
	if err != nil {
		_ = d.Unlink(name)
		return ID{}, err
	}
	return st.ID, nil
}

// ownSocket gives the socket that owner and mode. With nil everyone may write
// to it, whatever the umask was.
func (d *Dir) ownSocket(name string, o *Owner) (Stat, error) {
	f, st, err := d.Hold(name)
	if err != nil {
		return st, err
	}
	defer f.Close()
	// Somebody swapped the name: no mode is changed but the socket's own.
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

// handlePath is a path that leads to the file of the handle, and nowhere else.
func handlePath(f *os.File) string { return file.Path(int(f.Fd())) }

// TempPrefix begins every TempName.
const TempPrefix = ".devlog-tmp-"

// SharedTemps are the temporary names of Claim. What was killed is cleared up by
// these names: listing a directory that others share would cost what they like.
var SharedTemps = [...]string{TempPrefix + "0", TempPrefix + "1", TempPrefix + "2", TempPrefix + "3"}

// Claim has make make a file, which fails with EEXIST where the name is taken, under a
// temporary name in a directory that others share, and returns the name. While
// Lock holds the directory's lock that is one of SharedTemps, unless others have
// taken all of them.
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

// TempName is a hidden name that nobody else uses, for something that is
// prepared beside name and then renamed to it.
func TempName(name string) string {
	const rest = 255 - len(TempPrefix) - 1 - randomLen // of NAME_MAX
	name = strings.TrimLeft(name, ".")
	return TempPrefix + name[:min(len(name), rest)] + "-" + randomText()
}

const randomLen = 10

// shortTempName is a TempName that fits into sun_path behind a handlePath,
// whatever it is for.
func shortTempName() string { return TempPrefix + randomText() }

// randomText is made by math/rand/v2, which nobody can guess either: the start
// of crypto/rand takes longer than what the names are for.
func randomText() string {
	text := strconv.FormatUint(rand.Uint64()|1<<63, 32)
	return text[len(text)-randomLen:]
}
