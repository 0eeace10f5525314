// Package dirfd owns what both programs do with descriptors of directories that others
// may change: a path is resolved inside a root, a name is read, connected to or mounted
// over, and no link is followed.
package dirfd

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// ErrNoOpenat2 says that the kernel, or a seccomp filter, has no openat2(2).
var ErrNoOpenat2 = errors.New("no openat2(2)")

// openat2 is replaced in tests.
var openat2 = unix.Openat2

// OpenInRoot opens a handle (O_PATH) on what path leads to inside root, with more flags
// of open(2). The error is ErrNoOpenat2 or the system call's own.
func OpenInRoot(root int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range 128 { // EAGAIN: something was renamed or mounted meanwhile
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

// Readlink returns the text of the link. The error is EINVAL if the name is no link.
func Readlink(dir int, name string) (string, error) {
	var text [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, name, text[:])
	if err != nil {
		return "", err
	}
	return string(text[:n]), nil
}

// ReadNote returns a short text that is kept under the name: what a link says or, where
// a link cannot hold it, what is in a regular file of at most limit bytes.
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

// Connect returns a new socket of that type (unix(7)) that is connected to the one the
// handle fd (O_PATH) is of, whatever has its name by now.
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

// Clone returns a detached copy of the mount of the name (open_tree(2)), a link itself.
func Clone(dir int, name string) (int, error) {
	return unix.OpenTree(dir, name, unix.OPEN_TREE_CLONE|unix.AT_SYMLINK_NOFOLLOW|unix.OPEN_TREE_CLOEXEC)
}

// Attach mounts such a copy over the name (move_mount(2)), a link itself.
func Attach(tree, dir int, name string) error {
	return unix.MoveMount(tree, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// EnterError says that a thread could not enter a mount namespace.
type EnterError struct{ Err error }

func (e *EnterError) Error() string {
	return "cannot enter the container's mount namespace: " + e.Err.Error()
}

func (e *EnterError) Unwrap() error { return e.Err }

// InMounts runs f on a thread of its own, in the mount namespace that ns is a handle of
// (setns(2)); nil is this process's own. The thread's working directory is its own too.
func InMounts(ns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
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
