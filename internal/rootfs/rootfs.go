// Package rootfs owns the root: a container's root directory, held as a handle
// so that no path below it is ever resolved outside it, whoever controls what
// is there.
//
// Paths are resolved with openat2(2) RESOLVE_IN_ROOT (or what
// filepath-securejoin puts in its place on kernels that lack it); everything
// is then created, read and removed by a single name in a directory handle,
// which follows no link. /proc must be mounted where this program runs.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
)

// Root is a root directory.
type Root struct {
	dir *os.File
}

// Open opens the directory that path names, in this process's own root and
// following links, as a root.
func Open(path string) (*Root, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open root %s: %w", path, err)
	}
	return &Root{dir: os.NewFile(uintptr(fd), path)}, nil
}

// FromHandle makes a root of an open directory, which it closes in the end.
func FromHandle(dir *os.File) *Root { return &Root{dir: dir} }

// File is the handle, valid until Close, to be passed to another process.
func (r *Root) File() *os.File { return r.dir }

// Sub opens the directory at path, resolved inside r, as a root of its own.
func (r *Root) Sub(path string) (*Root, error) {
	d, err := r.Dir(path)
	if err != nil {
		return nil, err
	}
	return &Root{dir: d.file}, nil
}

// Same says whether both are one directory on one mount: a root that is bind
// mounted elsewhere is another.
func (r *Root) Same(other *Root) (bool, error) {
	a, err := r.identity()
	if err != nil {
		return false, err
	}
	b, err := other.identity()
	return a == b, err
}

// identity tells the root from others.
func (r *Root) identity() (of struct {
	id    ID
	mount int
}, err error) {
	d := Dir{file: r.dir, path: "/"}
	st, err := d.Self()
	if err != nil {
		return of, err
	}
	of.id = st.ID
	of.mount, err = d.MountID()
	return of, err
}

// Close releases the handle.
func (r *Root) Close() error { return r.dir.Close() }

// Dir opens the directory at path, resolved inside r and following links.
func (r *Root) Dir(path string) (*Dir, error) {
	f, err := openInRoot(r.dir, path)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", path, errno(err))
	}
	d := &Dir{file: f, path: path}
	if s, err := d.Self(); err != nil || s.Kind != Directory {
		f.Close()
		if err == nil {
			err = unix.ENOTDIR
		}
		return nil, fmt.Errorf("open directory %s: %w", path, err)
	}
	return d, nil
}

// inRoot is replaced in a test by what older kernels do.
var inRoot = dirfd.OpenInRoot

// openInRoot opens a handle (O_PATH) on what path leads to inside root. Where
// there is no openat2(2), pathrs-lite resolves the path step by step. It is not
// asked first: it mounts a /proc of its own to check the kernel's answer, which
// takes longer than the rest of an inspection.
func openInRoot(root *os.File, path string) (*os.File, error) {
	fd, err := inRoot(int(root.Fd()), path, 0)
	if errors.Is(err, dirfd.ErrNoOpenat2) {
		return pathrs.OpenatInRoot(root, path)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Made is a directory that MkdirAll has made: a name in the directory above.
type Made struct {
	Parent *Dir
	Name   string
}

// Remove removes the directory if it is empty.
func (m Made) Remove() error { return m.Parent.Rmdir(m.Name) }

// MkdirAll opens the directory at path, that has no .. elements, and makes what
// is missing of it, with mode 0755. It returns what it made, outermost first. On an error it removes
// that again.
func (r *Root) MkdirAll(name string) (dir *Dir, made []Made, err error) {
	name = path.Clean("/" + name)
	var missingNames []string
	at := name
	for {
		dir, err = r.Dir(at)
		if err == nil {
			break
		}
		if !missing(err) || at == "/" {
			return nil, nil, err
		}
		missingNames = append(missingNames, path.Base(at))
		at = path.Dir(at)
	}
	for _, base := range slices.Backward(missingNames) {
		child, fresh, err := dir.mkdir(base)
		if err != nil {
			dir.Close()
			RemoveAll(made)
			return nil, nil, err
		}
		if fresh {
			made = append(made, Made{Parent: dir, Name: base})
		} else {
			dir.Close()
		}
		dir = child
	}
	return dir, made, nil
}

// RemoveAll removes the directories, innermost first, as far as they are
// empty, and closes their handles.
func RemoveAll(made []Made) {
	for _, m := range slices.Backward(made) {
		_ = m.Remove() // one in use by now stays
		m.Parent.Close()
	}
}

// Lock is Dir.Lock of the root directory.
func (r *Root) Lock(timeout time.Duration) (unlock func(), err error) {
	return (&Dir{file: r.dir, path: "/"}).Lock(timeout)
}

// Lock takes the advisory lock (flock(2)) on the directory and holds it until
// unlock is called. It fails if somebody else holds it for that long.
func (d *Dir) Lock(timeout time.Duration) (unlock func(), err error) {
	fd, err := openat(d.FD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, d.failed("lock", "", err)
	}
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockPause) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			d.locked = true
			return func() { d.locked = false; unix.Close(fd) }, nil
		}
		if time.Now().After(deadline) {
			unix.Close(fd)
			return nil, fmt.Errorf("lock %s, which another repair has held for %s: %w", d.path, timeout, err)
		}
	}
}

// lockPause is the pause between tries: flock(2) has no time-out of its own.
const lockPause = 5 * time.Millisecond
