// Package rootfs owns the root: a container's root directory, held as a handle. No path is ever
// resolved outside it, even if somebody else controls the files in it.
//
// Paths are resolved with openat2(2) RESOLVE_IN_ROOT, or with filepath-securejoin on kernels
// without it. Files are then created, read and removed by a single name in a directory handle;
// no link is followed. /proc must be mounted where this program runs.
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
	"devlog/internal/file"
)

// Root is a root directory.
type Root struct {
	dir *os.File
}

// Open opens the directory at path, in this process's own root and following links, as a root.
func Open(path string) (*Root, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot open root %s: %w", path, err)
	}
	return &Root{dir: os.NewFile(uintptr(fd), path)}, nil
}

// FromHandle makes a root of an open directory. Close closes it.
func FromHandle(dir *os.File) *Root { return &Root{dir: dir} }

// File is the handle, valid until Close, to be passed to another process.
func (r *Root) File() *os.File { return r.dir }

// Sub opens the directory at path, resolved inside r, as another root.
func (r *Root) Sub(path string) (*Root, error) {
	d, err := r.Dir(path)
	if err != nil {
		return nil, err
	}
	return &Root{dir: d.file}, nil
}

// Same returns whether both are the same directory on the same mount: a bind mount of the
// directory is not the same.
func (r *Root) Same(other *Root) (bool, error) {
	a, err := r.identity()
	if err != nil {
		return false, err
	}
	b, err := other.identity()
	return a == b, err
}

// identity returns what tells the root from others.
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
		return nil, fmt.Errorf("cannot open directory %s: %w", path, errno(err))
	}
	d := &Dir{file: f, path: path}
	if s, err := d.Self(); err != nil || s.Kind != Directory {
		f.Close()
		if err == nil {
			err = unix.ENOTDIR
		}
		return nil, fmt.Errorf("cannot open directory %s: %w", path, err)
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

// Made is a directory that MkdirAll created: a name in its parent.
type Made struct {
	Parent *Dir
	Name   string
}

// Remove removes the directory if it is empty.
func (m Made) Remove() error { return m.Parent.Rmdir(m.Name) }

// MkdirAll opens the directory at path, which must have no .. elements, and creates missing
// directories with mode 0755. It returns those that it created, outermost first. On an error
// it removes them.
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

// RemoveAll removes those of the directories that are empty, innermost first, and closes their
// handles.
func RemoveAll(made []Made) {
	for _, m := range slices.Backward(made) {
		_ = m.Remove() // it stays if it is in use
		m.Parent.Close()
	}
}

// Lock is Dir.Lock of the root directory.
func (r *Root) Lock(timeout time.Duration) (unlock func(), err error) {
	return (&Dir{file: r.dir, path: "/"}).Lock(timeout)
}

// Lock takes the advisory lock (flock(2)) on the directory until unlock is called. It fails if
// somebody else holds the lock for that long.
func (d *Dir) Lock(timeout time.Duration) (unlock func(), err error) {
	fd, err := openat(d.FD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, d.failed("lock", "", err)
	}
	if err := file.Lock(fd, timeout); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot lock %s, which another repair has held for %s: %w", d.path, timeout, err)
	}
	d.locked = true
	return func() { d.locked = false; unix.Close(fd) }, nil
}
