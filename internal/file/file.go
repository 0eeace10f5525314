// Package file owns the opening of a file at a name where anything may be by
// now: it never waits, and what is of another type than wanted is an error.
package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Type is a type of file, as in st_mode (inode(7)).
type Type uint32

// The types of file that are opened. Any takes whatever it is.
const (
	Any       Type = 0
	Regular   Type = unix.S_IFREG
	Device    Type = unix.S_IFCHR
	FIFO      Type = unix.S_IFIFO
	Directory Type = unix.S_IFDIR
)

// ErrType says that there is a file of another type.
var ErrType = errors.New("unexpected file type")

// always are the flags of every open(2): a FIFO is not to wait for its other end,
// a terminal not to become this process's.
const always = unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// Open opens what path leads to, with these flags of open(2), and returns the
// descriptor. The error is ErrType or the system call's own.
func Open(path string, flags int, mode uint32, want Type) (int, error) {
	return open(unix.AT_FDCWD, path, flags, mode, want)
}

func open(dir int, name string, flags int, mode uint32, want Type) (int, error) {
	fd, err := openat(dir, name, flags|always, mode)
	if errors.Is(err, unix.ENXIO) && want == Regular {
		return -1, ErrType // a FIFO that nobody reads, or a socket
	}
	if err != nil {
		return -1, err
	}
	if err := check(fd, want); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openat is openat(2), again after a signal.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, mode)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func check(fd int, want Type) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if want != Any && Type(st.Mode&unix.S_IFMT) != want {
		return ErrType
	}
	return nil
}

// maxRaces is how often OpenIn begins anew because somebody makes and removes the
// name all the time.
const maxRaces = 16

// OpenIn is Open of a name in a directory in which others make files too: no
// link is followed (ErrType), and what is there is held before it is opened, for
// to open a device is an action already (a watchdog starts). With O_CREAT a
// regular file is made where there is none. /proc must be mounted.
func OpenIn(dir int, name string, flags int, mode uint32, want Type) (int, error) {
	for range maxRaces {
		fd, err := openHeld(dir, name, flags&^unix.O_CREAT, want)
		if flags&unix.O_CREAT == 0 || !errors.Is(err, unix.ENOENT) {
			return fd, err
		}
		fd, err = openat(dir, name, flags|unix.O_EXCL|always, mode)
		if !errors.Is(err, unix.EEXIST) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

func openHeld(dir int, name string, flags int, want Type) (int, error) {
	held, err := HoldIn(dir, name, want)
	if err != nil {
		return -1, err
	}
	defer unix.Close(held)
	return openat(unix.AT_FDCWD, Path(held), flags|always, 0)
}

// Hold returns a handle (O_PATH) of what path leads to. The error is ErrType or the
// system call's own.
func Hold(path string, want Type) (int, error) { return hold(unix.AT_FDCWD, path, 0, want) }

// HoldIn is Hold of a name in a directory. No link is followed (ErrType).
func HoldIn(dir int, name string, want Type) (int, error) {
	return hold(dir, name, unix.O_NOFOLLOW, want)
}

func hold(dir int, name string, flags int, want Type) (int, error) {
	held, err := openat(dir, name, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, err
	}
	if err := check(held, want); err != nil {
		_ = unix.Close(held)
		return -1, err
	}
	return held, nil
}

// Path is a path that leads to the file of the descriptor.
func Path(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// OpenRegular opens the regular file that path leads to, to be read. The error
// names the path.
func OpenRegular(path string) (*os.File, error) {
	fd, err := Open(path, unix.O_RDONLY, 0, Regular)
	if errors.Is(err, ErrType) {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// The devices that are opened by a name of /dev, which may be a shared one: a
// container's root can put there what it likes
// (Documentation/admin-guide/devices.txt of the kernel).
var (
	null      = unix.Mkdev(1, 3)
	kernelLog = unix.Mkdev(1, 11)
)

// OpenKernelLog opens the kernel's log at path, to be written to, and nothing else
// that has its name (ErrType).
func OpenKernelLog(path string) (int, error) {
	return openDevice(path, kernelLog, unix.O_WRONLY|always)
}

// OpenNull opens /dev/null, and nothing else that has its name (ErrType), so that
// it can be standard input and output: with O_NONBLOCK a program in Go would watch
// it by epoll(7).
func OpenNull() (*os.File, error) {
	fd, err := openDevice(os.DevNull, null, unix.O_RDWR|unix.O_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	return os.NewFile(uintptr(fd), os.DevNull), nil
}

// openDevice opens the character device at path. It is held before it is opened,
// as in OpenIn.
func openDevice(path string, device uint64, flags int) (int, error) {
	held, err := holdDevice(path, device)
	if err != nil {
		return -1, err
	}
	defer unix.Close(held)
	return openat(unix.AT_FDCWD, Path(held), flags, 0)
}

// HoldKernelLog returns a handle (O_PATH) of what OpenKernelLog opens.
func HoldKernelLog(path string) (int, error) { return holdDevice(path, kernelLog) }

// HoldNull returns a handle (O_PATH) of what OpenNull opens.
func HoldNull() (int, error) { return holdDevice(os.DevNull, null) }

func holdDevice(path string, device uint64) (int, error) {
	held, err := Hold(path, Device)
	if err == nil {
		if err = checkDevice(held, device); err == nil {
			return held, nil
		}
		_ = unix.Close(held)
	}
	return -1, err
}

// OpenNullBy is OpenNull where /proc may not be this process's. fds is a handle of
// its directory /proc/self/fd.
func OpenNullBy(fds int) (int, error) {
	held, err := HoldNull()
	if err != nil {
		return -1, err
	}
	defer unix.Close(held)
	return openat(fds, strconv.Itoa(held), unix.O_RDWR|always, 0)
}

func checkDevice(fd int, device uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || DeviceOf(&st) != device {
		return ErrType
	}
	return nil
}

// WriteKernelLog writes a record to the kernel's log at path, without waiting.
func WriteKernelLog(path string, record []byte) error {
	fd, err := OpenKernelLog(path)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, record)
	return errors.Join(err, unix.Close(fd))
}

// Read returns what is in the regular file that path leads to. More than limit
// bytes are an error; it names the path.
func Read(path string, limit int64) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	return ReadAll(f, limit)
}

// ReadAll is Read of an open file, which it closes.
func ReadAll(f *os.File, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), limit)
	}
	return data, nil
}

// ActAs makes this thread create and open files as that user and group (setfsuid(2)). The
// thread must be locked to its goroutine. The error is EPERM without the privilege.
func ActAs(uid, gid int) error {
	// The group first: only root can set it. Neither call reports an error; a second call
	// returns the result of the first.
	_, _ = unix.SetfsgidRetGid(gid)
	_, _ = unix.SetfsuidRetUid(uid)
	gotGID, _ := unix.SetfsgidRetGid(-1)
	gotUID, _ := unix.SetfsuidRetUid(-1)
	if gotUID != uid || gotGID != gid {
		return unix.EPERM
	}
	return nil
}
