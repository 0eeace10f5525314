package output

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// place is where a file is.
type place struct {
	path string
	// below is a directory in which others make files too, such as a container
	// that has its own logs mounted: from there on no link is followed, which
	// could lead anywhere on the host. It is empty of any other path: an
	// administrator's links are followed.
	below string
}

// newPlace is the place of the path. below counts if the path is below it.
func newPlace(path, below string) place {
	if clean := filepath.Clean(path); below != "" && strings.HasPrefix(clean, below+"/") {
		return place{clean, below}
	}
	return place{path: path}
}

// open opens the file. With O_CREAT it is made if it does not exist, together
// with its directories (mode 0755).
func (p place) open(flags int, mode uint32, want file.Type) (int, error) {
	makes := flags&unix.O_CREAT != 0
	if p.below == "" {
		fd, err := file.Open(p.path, flags, mode, want)
		if makes && errors.Is(err, unix.ENOENT) {
			if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
				return -1, err
			}
			fd, err = file.Open(p.path, flags, mode, want)
		}
		return fd, err
	}
	d, err := p.walk(makes)
	if err != nil {
		return -1, err
	}
	defer d.close()
	return file.OpenIn(d.fd, filepath.Base(p.path), flags, mode, want)
}

// Hold returns a handle (O_PATH) of the file, or directory, that path leads to, for
// which no link is followed from below on if path is below that. The error is
// file.ErrType where it is of another type.
func Hold(path, below string, want file.Type) (int, error) {
	p := newPlace(path, below)
	if p.below == "" {
		return file.Hold(path, want)
	}
	d, err := p.walk(false)
	if err != nil {
		return -1, err
	}
	defer d.close()
	return file.HoldIn(d.fd, filepath.Base(p.path), want)
}

// MakeDirectory makes the directory that does not exist, with those that it is in
// (mode 0755), and gives it to the user and group; those are root's. What is made with
// root's rights for another user is made where no link points, but on the way to below,
// if path is below that: he may have laid it.
func MakeDirectory(path, below string, uid, gid int) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("make the directory %s: %w", path, err)
	}
	p := newPlace(path, below)
	if p.below == "" {
		p = place{path, "/"}
	}
	d, err := p.walk(true)
	if err != nil {
		return fmt.Errorf("%w: make %s yourself, and give it to that user with chown(1)", err, path)
	}
	defer d.close()
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
	defer made.close()
	if err := unix.Fchownat(made.fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return d.failed("make the directory", name, err)
	}
	return nil
}

// walk opens the directory of a file below another one, by one name after the
// other.
func (p place) walk(makes bool) (folder, error) {
	if makes {
		if err := os.MkdirAll(p.below, 0o755); err != nil {
			return folder{}, err
		}
	}
	d, err := openFolder(p.below)
	if err != nil {
		return folder{}, err
	}
	dir := strings.TrimPrefix(filepath.Dir(p.path), p.below)
	for name := range strings.FieldsFuncSeq(dir, func(r rune) bool { return r == '/' }) {
		inner, err := d.enter(name, makes)
		d.close()
		if err != nil {
			return folder{}, err
		}
		d = inner
	}
	return d, nil
}

// folder opens the directory that the file is in, and returns the name that it
// has there: that of the file itself, where the path leads to it by links.
func (p place) folder() (d folder, name string, err error) {
	if p.below != "" {
		d, err = p.walk(false)
		return d, filepath.Base(p.path), err
	}
	path := p.path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	d, err = openFolder(filepath.Dir(path))
	return d, filepath.Base(path), err
}

// stat says what the path leads to.
func (p place) stat() (st unix.Stat_t, err error) {
	if p.below == "" {
		err = unix.Stat(p.path, &st)
		return st, err
	}
	d, err := p.walk(false)
	if err != nil {
		return st, err
	}
	defer d.close()
	return d.stat(filepath.Base(p.path))
}

// folder is a handle of a directory. What is done in it is done by name, and no
// link that has the name is followed.
type folder struct {
	fd   int
	path string // for messages
}

const folderFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC

func openFolder(path string) (folder, error) {
	fd, err := file.Open(path, folderFlags, 0, file.Any)
	if err != nil {
		return folder{}, fmt.Errorf("open the directory %s: %w", path, err)
	}
	return folder{fd, path}, nil
}

// enter opens a directory in this one, and makes it if it is to.
func (d folder) enter(name string, makes bool) (folder, error) {
	path := filepath.Join(d.path, name)
	if makes {
		if err := unix.Mkdirat(d.fd, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return folder{}, fmt.Errorf("make the directory %s: %w", path, err)
		}
	}
	fd, err := unix.Openat(d.fd, name, folderFlags|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return folder{}, fmt.Errorf("%s is not a directory (no link is followed there)", path)
	}
	if err != nil {
		return folder{}, fmt.Errorf("open the directory %s: %w", path, err)
	}
	return folder{fd, path}, nil
}

func (d folder) close() { _ = unix.Close(d.fd) }

// open opens the regular file of that name.
func (d folder) open(name string, flags int, mode uint32) (int, error) {
	fd, err := file.OpenIn(d.fd, name, flags, mode, file.Regular)
	if err != nil {
		return -1, d.failed("open", name, err)
	}
	return fd, nil
}

func (d folder) stat(name string) (st unix.Stat_t, err error) {
	err = unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// has says that there is something of that name, as far as that can be known.
func (d folder) has(name string) bool {
	_, err := d.stat(name)
	return !errors.Is(err, unix.ENOENT)
}

func (d folder) rename(from, to string) error {
	if err := unix.Renameat(d.fd, from, d.fd, to); err != nil {
		return d.failed("rename", from, err)
	}
	return nil
}

func (d folder) remove(name string) error {
	if err := unix.Unlinkat(d.fd, name, 0); err != nil {
		return d.failed("remove", name, err)
	}
	return nil
}

func (d folder) failed(action, name string, err error) error {
	return fmt.Errorf("%s %s: %w", action, filepath.Join(d.path, name), err)
}
