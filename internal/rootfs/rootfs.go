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
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
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

// Sub opens the directory at path, resolved inside r, as a root of its own.
func (r *Root) Sub(path string) (*Root, error) {
	d, err := r.Dir(path)
	if err != nil {
		return nil, err
	}
	return &Root{dir: d.file}, nil
}

// Close releases the handle.
func (r *Root) Close() error { return r.dir.Close() }

// Dir opens the directory at path, resolved inside r and following links.
func (r *Root) Dir(path string) (*Dir, error) {
	f, err := pathrs.OpenatInRoot(r.dir, path)
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

// maxLinks is how many links Resolve follows, as path_resolution(7) does.
const maxLinks = 40

// Place is where a path leads after all links are followed: a name in a
// directory. The name need not exist.
type Place struct {
	// Dir is the directory, or nil if it does not exist.
	Dir *Dir
	// Path is the place's path inside the root.
	Path string
	// Name is Path's last element.
	Name string
	// Stat is what is there; its Kind is Absent if nothing is.
	Stat Stat
}

// Close releases the directory handle, if there is one.
func (p *Place) Close() {
	if p.Dir != nil {
		p.Dir.Close()
	}
}

// Resolve follows the path and every link it leads to, inside r. It does not
// fail where something on the way is missing: that place is Absent.
func (r *Root) Resolve(name string) (*Place, error) {
	name = path.Clean("/" + name)
	for range maxLinks {
		p := &Place{Path: name, Name: path.Base(name), Stat: Stat{Kind: Absent}}
		d, err := r.Dir(path.Dir(name))
		if missing(err) {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
		p.Dir = d
		if p.Stat, err = d.Lstat(p.Name); err != nil {
			d.Close()
			return nil, err
		}
		if p.Stat.Kind != Link {
			return p, nil
		}
		text, err := d.Readlink(p.Name)
		d.Close()
		if err != nil {
			return nil, err
		}
		name = join(path.Dir(name), text)
	}
	return nil, fmt.Errorf("follow %s: %w", name, unix.ELOOP)
}

// join is the path to which a link with this text leads from the directory.
// It is only lexical, so a ".." behind a link is not seen as the kernel sees
// it: such a link leads to another place inside the root, never out of it.
func join(dir, text string) string {
	if path.IsAbs(text) {
		return path.Clean(text)
	}
	return path.Clean("/" + dir + "/" + text)
}

// Made is a directory that MkdirAll has made: a name in the directory above.
type Made struct {
	Parent *Dir
	Name   string
}

// Remove removes the directory if it is empty.
func (m Made) Remove() error { return m.Parent.Rmdir(m.Name) }

// MkdirAll opens the directory at path and makes what is missing of it, with
// mode 0755. It returns what it made, outermost first. On an error it removes
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

// Lock takes the advisory lock (flock(2)) on the root directory and holds it
// until unlock is called. It fails if somebody else holds it for that long.
func (r *Root) Lock(timeout time.Duration) (unlock func(), err error) {
	fd, err := openat(int(r.dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("lock the root: %w", err)
	}
	for deadline := time.Now().Add(timeout); ; time.Sleep(lockPause) {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { unix.Close(fd) }, nil
		}
		if time.Now().After(deadline) {
			unix.Close(fd)
			return nil, fmt.Errorf("lock the root, which another repair has held for %s: %w", timeout, err)
		}
	}
}

// lockPause is the pause between tries: flock(2) has no time-out of its own.
const lockPause = 5 * time.Millisecond
