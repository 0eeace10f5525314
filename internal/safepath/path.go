// Package safepath owns the place of a file: its path, and the directories on the way to it,
// in which others may lay links.
package safepath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// Place is where a file is.
type Place struct {
	Path string
	// Below is a directory in which others make files too, such as a container
	// that has its own logs mounted: from there on no link is followed, which
	// could lead anywhere on the host. It is empty of any other path: an
	// administrator's links are followed.
	Below string
}

// New is the place of the path. below counts if the path is below it.
func New(path, below string) Place {
	if clean := filepath.Clean(path); below != "" && strings.HasPrefix(clean, below+"/") {
		return Place{clean, below}
	}
	return Place{Path: path}
}

// Open opens the file. With O_CREAT it is made if it does not exist, together
// with its directories (mode 0755).
func (p Place) Open(flags int, mode uint32, want file.Type) (int, error) {
	makes := flags&unix.O_CREAT != 0
	if p.Below == "" {
		fd, err := file.Open(p.Path, flags, mode, want)
		if makes && errors.Is(err, unix.ENOENT) {
			if err := os.MkdirAll(filepath.Dir(p.Path), 0o755); err != nil {
				return -1, err
			}
			fd, err = file.Open(p.Path, flags, mode, want)
		}
		return fd, err
	}
	d, err := p.walk(makes)
	if err != nil {
		return -1, err
	}
	defer d.Close()
	return file.OpenIn(d.fd, filepath.Base(p.Path), flags, mode, want)
}

// Hold returns a handle (O_PATH) of the file, or directory, that path leads to, for
// which no link is followed from below on if path is below that. The error is
// file.ErrType where it is of another type.
func Hold(path, below string, want file.Type) (int, error) {
	p := New(path, below)
	if p.Below == "" {
		return file.Hold(path, want)
	}
	d, err := p.walk(false)
	if err != nil {
		return -1, err
	}
	defer d.Close()
	return file.HoldIn(d.fd, filepath.Base(p.Path), want)
}

// MakeDirectory makes the directory that does not exist, with those that it is in
// (mode 0755), and gives it to the user and group; those are root's. What is made with
// root's rights for another user is made where no link points, but on the way to below,
// if path is below that: he may have laid it.
func MakeDirectory(path, below string, uid, gid int) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot make the directory %s: %w", path, err)
	}
	p := New(path, below)
	if p.Below == "" {
		p = Place{path, "/"}
	}
	d, err := p.walk(true)
	if err != nil {
		return fmt.Errorf("%w: make %s yourself, and give it to that user with chown(1)", err, path)
	}
	defer d.Close()
	name := filepath.Base(path)
	err = unix.Mkdirat(d.fd, name, 0o755)
	if errors.Is(err, unix.EEXIST) {
		return nil // what is wrong with it is found when it is used
	}
	if err != nil {
		return d.failed("make the directory", name, err)
	}
	made, err := d.enter(name, false)
	if err != nil {
		return err
	}
	defer made.Close()
	if err := unix.Fchownat(made.fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return d.failed("make the directory", name, err)
	}
	return nil
}

// walk opens the directory of a file below another one, by one name after the
// other.
func (p Place) walk(makes bool) (Folder, error) {
	if makes {
		if err := os.MkdirAll(p.Below, 0o755); err != nil {
			return Folder{}, err
		}
	}
	d, err := openFolder(p.Below)
	if err != nil {
		return Folder{}, err
	}
	dir := strings.TrimPrefix(filepath.Dir(p.Path), p.Below)
	for name := range strings.FieldsFuncSeq(dir, func(r rune) bool { return r == '/' }) {
		inner, err := d.enter(name, makes)
		d.Close()
		if err != nil {
			return Folder{}, err
		}
		d = inner
	}
	return d, nil
}

// Folder opens the directory that the file is in, and returns the name that it
// Has there: that of the file itself, where the path leads to it by links.
func (p Place) Folder() (d Folder, name string, err error) {
	if p.Below != "" {
		d, err = p.walk(false)
		return d, filepath.Base(p.Path), err
	}
	path := p.Path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	d, err = openFolder(filepath.Dir(path))
	return d, filepath.Base(path), err
}

// Stat says what the path leads to.
func (p Place) Stat() (st unix.Stat_t, err error) {
	if p.Below == "" {
		err = unix.Stat(p.Path, &st)
		return st, err
	}
	d, err := p.walk(false)
	if err != nil {
		return st, err
	}
	defer d.Close()
	return d.Stat(filepath.Base(p.Path))
}

// Folder is a handle of a directory. What is done in it is done by name, and no
// link that has the name is followed.
type Folder struct {
	fd   int
	path string // for messages
}

const folderFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC

func openFolder(path string) (Folder, error) {
	fd, err := file.Open(path, folderFlags, 0, file.Any)
	if err != nil {
		return Folder{}, fmt.Errorf("cannot open the directory %s: %w", path, err)
	}
	return Folder{fd, path}, nil
}

// enter opens a directory in this one, and makes it if it is to.
func (d Folder) enter(name string, makes bool) (Folder, error) {
	path := filepath.Join(d.path, name)
	if makes {
		if err := unix.Mkdirat(d.fd, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return Folder{}, fmt.Errorf("cannot make the directory %s: %w", path, err)
		}
	}
	fd, err := unix.Openat(d.fd, name, folderFlags|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return Folder{}, fmt.Errorf("%s is not a directory (no link is followed there)", path)
	}
	if err != nil {
		return Folder{}, fmt.Errorf("cannot open the directory %s: %w", path, err)
	}
	return Folder{fd, path}, nil
}

// Close closes the handle.
func (d Folder) Close() { _ = unix.Close(d.fd) }

// Open opens the regular file of that name.
func (d Folder) Open(name string, flags int, mode uint32) (int, error) {
	fd, err := file.OpenIn(d.fd, name, flags, mode, file.Regular)
	if err != nil {
		return -1, d.failed("open", name, err)
	}
	return fd, nil
}

// Stat says what has that name, without following a link.
func (d Folder) Stat(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// Has says that there is something of that name, as far as that can be known.
func (d Folder) Has(name string) bool {
	_, err := d.Stat(name)
	return !errors.Is(err, unix.ENOENT)
}

// Rename gives a file another name in the directory, and replaces what has it.
func (d Folder) Rename(from, to string) error {
	if err := unix.Renameat(d.fd, from, d.fd, to); err != nil {
		return d.failed("rename", from, err)
	}
	return nil
}

// Remove removes the name of a file.
func (d Folder) Remove(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil {
		return d.failed("remove", name, err)
	}
	return nil
}

func (d Folder) failed(action, name string, err error) error {
	return fmt.Errorf("%s %s: %w", action, filepath.Join(d.path, name), err)
}

// Is reports whether the open file is what is there.
func (p Place) Is(fd int) bool {
	var own unix.Stat_t
	if unix.Fstat(fd, &own) != nil {
		return true
	}
	there, err := p.Stat()
	return err == nil && Same(&own, &there)
}

// Same reports whether both are one file.
func Same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// Path is the directory's path, for messages.
func (d Folder) Path() string { return d.path }
