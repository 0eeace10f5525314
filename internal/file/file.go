// Package file opens files at names where others may put anything: it never waits, and a file
// of another type than wanted is an error.
package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Type is a type of file, as in st_mode (inode(7)).
type Type uint32

// The types that can be wanted. Any accepts all.
const (
	Any       Type = 0
	Regular   Type = unix.S_IFREG
	Device    Type = unix.S_IFCHR
	FIFO      Type = unix.S_IFIFO
	Directory Type = unix.S_IFDIR
)

// ErrType means that the file has another type.
var ErrType = errors.New("unexpected file type")

// always are the flags of every open(2): it must not wait for the other end of a FIFO, nor
// make a terminal the controlling one.
const always = unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// Open opens the path with these flags of open(2), and returns the descriptor. The error is
// ErrType or the system call's.
func Open(path string, flags int, mode uint32, want Type) (int, error) {
	return open(unix.AT_FDCWD, path, flags, mode, want)
}

func open(dir int, name string, flags int, mode uint32, want Type) (int, error) {
	fd, err := openat(dir, name, flags|always, mode)
	if errors.Is(err, unix.ENXIO) && want == Regular {
		return -1, ErrType // a FIFO without a reader, or a socket
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

// openat is openat(2), repeated after a signal.
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

// maxRaces is how often OpenIn starts again because the name appears and disappears.
const maxRaces = 16

// OpenIn opens a name in a directory in which others create files too. It follows no link
// (ErrType). It checks a handle on the file first, because opening a device has effects (a
// watchdog starts). With O_CREAT it creates a regular file if the name is free. /proc must be
// mounted.
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

// Hold returns a handle (O_PATH) on the path. The error is ErrType or the system call's.
func Hold(path string, want Type) (int, error) { return hold(unix.AT_FDCWD, path, 0, want) }

// HoldIn is Hold for a name in a directory. It follows no link (ErrType).
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

// Path returns a path of the descriptor's file.
func Path(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// OpenRegular opens a regular file for reading. The error names the path.
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

// The devices that are opened by a name in /dev, which may be shared: any container's root can
// put other files there (the kernel's Documentation/admin-guide/devices.txt).
var (
	null      = unix.Mkdev(1, 3)
	kernelLog = unix.Mkdev(1, 11)
)

// OpenKernelLog opens the kernel's log at the path for writing. Other files are refused
// (ErrType).
func OpenKernelLog(path string) (int, error) {
	return openDevice(path, kernelLog, unix.O_WRONLY|always)
}

// OpenNull opens /dev/null for standard input and output. Other files are refused (ErrType).
// It uses no O_NONBLOCK, with which a Go program would watch it with epoll(7).
func OpenNull() (*os.File, error) {
	fd, err := openDevice(os.DevNull, null, unix.O_RDWR|unix.O_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	return os.NewFile(uintptr(fd), os.DevNull), nil
}

// openDevice opens the character device at the path. It checks a handle first, as OpenIn does.
func openDevice(path string, device uint64, flags int) (int, error) {
	held, err := holdDevice(path, device)
	if err != nil {
		return -1, err
	}
	defer unix.Close(held)
	return openat(unix.AT_FDCWD, Path(held), flags, 0)
}

// HoldKernelLog returns a handle (O_PATH) on the kernel's log, like OpenKernelLog.
func HoldKernelLog(path string) (int, error) { return holdDevice(path, kernelLog) }

// HoldNull returns a handle (O_PATH) on /dev/null, like OpenNull.
func HoldNull() (int, error) { return holdDevice(os.DevNull, null) }

// OpenNullIn opens the null device that is called null in the directory, for reading.
func OpenNullIn(dir int) (int, error) {
	return openDevice(Path(dir)+"/null", null, unix.O_RDONLY|always)
}

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

// OpenNullBy is OpenNull where /proc may belong to another process. fds is a handle on this
// process's /proc/self/fd.
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

// Read returns the content of a regular file. A file of more than limit bytes is an error,
// which names the path.
func Read(path string, limit int64) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	return ReadAll(f, limit)
}

// ReadAll is Read for an open file. It closes the file.
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

// lockPause is the pause between tries to lock: flock(2) has no timeout.
const lockPause = 5 * time.Millisecond

// Lock takes the advisory lock (flock(2)) of an open file. It fails if that does not work for so
// long: the error is unix.EWOULDBLOCK if somebody else holds the lock.
func Lock(fd int, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockPause) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
