// Package safepath opens files by paths whose directories others may fill with links.
package safepath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// Place is the path of a file, and below which directory links are not followed.
type Place struct {
	Path string
	// Below is a directory in which others create files too, such as a container with its logs
	// mounted. Below it no link is followed: it could point anywhere on the host. It is empty
	// for other paths: an administrator's links are followed.
	Below string
}

// New returns the place of the path. It ignores below if the path is not below it.
func New(path, below string) Place {
	if clean := filepath.Clean(path); below != "" && strings.HasPrefix(clean, below+"/") {
		return Place{clean, below}
	}
	return Place{Path: path}
}

// Open opens the file. With O_CREAT it creates the file and its directories (mode 0755) if
// they do not exist.
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

// Creatable returns whether the file does not exist, but can be created. It creates the file's
// directories (mode 0755) if they do not exist.
func (p Place) Creatable() bool {
	d, err := p.directory()
	if err != nil {
		return false
	}
	defer d.Close()
	return !d.Has(filepath.Base(p.Path)) && unix.Faccessat(d.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// directory opens the file's directory. It creates it if it does not exist.
func (p Place) directory() (Folder, error) {
	if p.Below != "" {
		return p.walk(true)
	}
	dir := filepath.Dir(p.Path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Folder{}, err
	}
	return openFolder(dir)
}

// Hold returns a handle (O_PATH) on the file or directory that the path leads to. If the path
// is below the directory below, no link is followed from there on. The error is file.ErrType
// if the type is another one.
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

// MakeDirectory creates a directory for the user and group, and its parents for root (mode
// 0755), if it does not exist. Below the directory below it follows no link: the user may have
// made one, and root's privileges must not create directories elsewhere.
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
		return fmt.Errorf("%w; hint: create %s yourself, and give it to that user with chown(1)", err, path)
	}
	defer d.Close()
	name := filepath.Base(path)
	err = unix.Mkdirat(d.fd, name, 0o755)
	if errors.Is(err, unix.EEXIST) {
		return nil // problems are found when it is used
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

// Give gives the directory, and the regular files with these names in it, to the user uid if they
// belong to one of the users from. Their groups stay. Below the directory below it follows no link.
// It leaves out files with more than one name, of which another could be anywhere.
func Give(path, below string, names []string, uid int, from ...int) error {
	fd, err := Hold(path, below, file.Directory)
	if err != nil {
		return fmt.Errorf("cannot give %s to user %d: %w", path, uid, err)
	}
	d := Folder{fd, path}
	defer d.Close()
	errs := []error{d.give(fd, uid, from)}
	for _, name := range names {
		if f, err := file.HoldIn(fd, name, file.Regular); err == nil { // problems are found when it is used
			errs = append(errs, d.give(f, uid, from))
			_ = unix.Close(f)
		}
	}
	return errors.Join(errs...)
}

// give gives the directory, or a file in it, to the user.
func (d Folder) give(fd, uid int, from []int) error {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err != nil || int(st.Uid) == uid || !slices.Contains(from, int(st.Uid)) || st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink != 1 {
		return err
	}
	if err := unix.Fchownat(fd, "", uid, -1, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot give what is in %s to user %d: %w", d.path, uid, err)
	}
	return nil
}

// walk opens the file's directory, one name after the other.
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

// Folder opens the file's directory. It also returns the file's name there, which differs from
// the path's last name if that is a link.
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

// Stat returns the file's attributes.
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

// Folder is a handle on a directory. Its methods take names in it, and do not follow links.
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

// enter opens a directory in this one. With makes it creates the directory if it does not
// exist.
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

// Open opens the regular file with that name.
func (d Folder) Open(name string, flags int, mode uint32) (int, error) {
	fd, err := file.OpenIn(d.fd, name, flags, mode, file.Regular)
	if err != nil {
		return -1, d.failed("open", name, err)
	}
	return fd, nil
}

// Names returns the names in the directory.
func (d Folder) Names() ([]string, error) {
	f, err := os.Open(file.Path(d.fd))
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", d.path, err)
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// Stat returns the attributes of the name, without following a link.
func (d Folder) Stat(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// Has returns whether the name exists, as far as that can be known.
func (d Folder) Has(name string) bool {
	_, err := d.Stat(name)
	return !errors.Is(err, unix.ENOENT)
}

// Rename renames a file in the directory, and replaces the file that has the new name.
func (d Folder) Rename(from, to string) error {
	if err := unix.Renameat(d.fd, from, d.fd, to); err != nil {
		return d.failed("rename", from, err)
	}
	return nil
}

// Remove removes a file's name.
func (d Folder) Remove(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil {
		return d.failed("remove", name, err)
	}
	return nil
}

func (d Folder) failed(action, name string, err error) error {
	return fmt.Errorf("%s %s: %w", action, filepath.Join(d.path, name), err)
}

// Is returns whether the open file is the one at the place.
func (p Place) Is(fd int) bool {
	var own unix.Stat_t
	if unix.Fstat(fd, &own) != nil {
		return true
	}
	there, err := p.Stat()
	return err == nil && Same(&own, &there)
}

// Same returns whether both are the same file.
func Same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// Path returns the directory's path, for messages.
func (d Folder) Path() string { return d.path }
