// Package dirfd works with directories that others may change, for both programs: it resolves
// a path inside a root, and reads, connects to or mounts over a name. It follows no link.
package dirfd

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// ErrNoOpenat2 means that the kernel, or a seccomp filter, does not allow openat2(2).
var ErrNoOpenat2 = errors.New("no openat2(2)")

// openat2 is replaced in tests.
var openat2 = unix.Openat2

// OpenInRoot opens a handle (O_PATH) on the path inside root, with more flags of open(2). The
// error is ErrNoOpenat2 or the system call's.
func OpenInRoot(root int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range 128 { // EAGAIN: a rename or mount happened meanwhile
		fd, err := openat2(root, path, &how)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.E2BIG):
			return -1, ErrNoOpenat2
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}

// Readlink returns the text of the link. The error is EINVAL if the name is not a link.
func Readlink(dir int, name string) (string, error) {
	var text [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, name, text[:])
	if err != nil {
		return "", err
	}
	return string(text[:n]), nil
}

// ReadNote returns a short text that is stored under the name: the text of a link or, if that
// cannot hold it, the content of a regular file of at most limit bytes.
func ReadNote(dir int, name string, limit int64) ([]byte, error) {
	text, err := Readlink(dir, name)
	if !errors.Is(err, unix.EINVAL) {
		return []byte(text), err
	}
	fd, err := file.OpenIn(dir, name, unix.O_RDONLY, 0, file.Regular)
	if err != nil {
		return nil, err
	}
	return file.ReadAll(os.NewFile(uintptr(fd), name), limit)
}

// Connect returns a new socket of that type (unix(7)), connected to the socket of the handle
// fd (O_PATH), even if the name belongs to another by now.
func Connect(fd, kind int) (int, error) {
	s, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(s, &unix.SockaddrUnix{Name: file.Path(fd)}); err != nil {
		_ = unix.Close(s)
		return -1, err
	}
	return s, nil
}

// Clone returns a detached copy of the mount of the name (open_tree(2)), without following a
// link.
func Clone(dir int, name string) (int, error) {
	return unix.OpenTree(dir, name, unix.OPEN_TREE_CLONE|unix.AT_SYMLINK_NOFOLLOW|unix.OPEN_TREE_CLOEXEC)
}

// Attach mounts such a copy over the name (move_mount(2)), without following a link.
func Attach(tree, dir int, name string) error {
	return unix.MoveMount(tree, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// EnterError means that a thread could not enter a mount namespace.
type EnterError struct{ Err error }

func (e *EnterError) Error() string {
	return "cannot enter the container's mount namespace: " + e.Err.Error()
}

func (e *EnterError) Unwrap() error { return e.Err }

// InMounts runs f on its own thread in the mount namespace ns (setns(2)); nil for this
// process's. The thread has its own working directory.
func InMounts(ns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil && ns != nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)
		}
		if err != nil {
			done <- &EnterError{err}
			return
		}
		done <- f()
	}()
	return <-done
}
