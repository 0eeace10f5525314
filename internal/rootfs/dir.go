package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
)

// Kind is a type of file.
type Kind string

// The kinds of file, as inode(7) tells them apart.
const (
	Absent    Kind = "absent"
	Socket    Kind = "socket"
	Link      Kind = "link"
	Directory Kind = "directory"
	Regular   Kind = "regular file"
	Device    Kind = "device"
	FIFO      Kind = "FIFO"
)

// ID tells one file from another.
type ID = file.ID

// Owner is a file's owner and mode.
type Owner struct {
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Mode uint32 `json:"mode"`
}

// Stat describes the file with a name. An Absent file has the zero ID.
type Stat struct {
	Kind  Kind
	ID    ID
	Owner Owner
}

// Dir is a handle on a directory. Names given to its methods are single
// elements, never paths, and no method follows a link.
type Dir struct {
	file *os.File
	path string
	// locked says that Lock holds the directory's lock.
	locked bool
}

// Path is the directory's path inside its root, for messages.
func (d *Dir) Path() string { return d.path }

// FD is the handle's descriptor (O_PATH), valid until Close.
func (d *Dir) FD() int { return int(d.file.Fd()) }

// File is the handle, valid until Close, to be passed to another process.
func (d *Dir) File() *os.File { return d.file }

// Close releases the handle.
func (d *Dir) Close() error { return d.file.Close() }

// Self describes the directory itself.
func (d *Dir) Self() (Stat, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.FD(), &st); err != nil {
		return Stat{}, fmt.Errorf("cannot examine %s: %w", d.path, err)
	}
	return newStat(&st), nil
}

// Lstat describes the file with that name. An absent file is not an error.
func (d *Dir) Lstat(name string) (Stat, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return Stat{Kind: Absent}, nil
	}
	if err != nil {
		return Stat{}, d.failed("examine", name, err)
	}
	return newStat(&st), nil
}

// Hold opens a handle (O_PATH) on the file with that name, of any type, and describes it.
func (d *Dir) Hold(name string) (*os.File, Stat, error) {
	fd, err := openat(d.FD(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, Stat{Kind: Absent}, d.failed("open", name, err)
	}
	f := os.NewFile(uintptr(fd), path.Join(d.path, name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, Stat{}, d.failed("examine", name, err)
	}
	return f, newStat(&st), nil
}

// Readlink returns the text of the link.
func (d *Dir) Readlink(name string) (string, error) {
	text, err := dirfd.Readlink(d.FD(), name)
	if err != nil {
		return "", d.failed("read link", name, err)
	}
	return text, nil
}

// Symlink makes a link with this text. It fails if the name exists.
func (d *Dir) Symlink(text, name string) error {
	if err := unix.Symlinkat(text, d.FD(), name); err != nil {
		return d.failed("make link", name, err)
	}
	return nil
}

// renameat2 is replaced in a test by one of a file system without its flags.
var renameat2 = unix.Renameat2

// Exchange swaps two names of the directory in one step
// (renameat2(2) RENAME_EXCHANGE).
func (d *Dir) Exchange(a, b string) error {
	if err := renameat2(d.FD(), a, d.FD(), b, unix.RENAME_EXCHANGE); err != nil {
		return d.failed("exchange "+a+" with", b, err)
	}
	return nil
}

// Rename gives a file another name in the directory and replaces a file with that name.
func (d *Dir) Rename(from, to string) error {
	if err := unix.Renameat(d.FD(), from, d.FD(), to); err != nil {
		return d.failed("rename "+from+" to", to, err)
	}
	return nil
}

// RenameNew is Rename that fails if the new name exists
// (renameat2(2) RENAME_NOREPLACE).
func (d *Dir) RenameNew(from, to string) error {
	if err := renameat2(d.FD(), from, d.FD(), to, unix.RENAME_NOREPLACE); err != nil {
		return d.failed("rename "+from+" to", to, err)
	}
	return nil
}

// MoveTo moves a file to a name in another directory on the same mount. It fails if the name
// exists.
func (d *Dir) MoveTo(from string, to *Dir, name string) error {
	if err := renameat2(d.FD(), from, to.FD(), name, unix.RENAME_NOREPLACE); err != nil {
		return to.failed("rename "+from+" to", name, err)
	}
	return nil
}

// Enter opens the directory with that name.
func (d *Dir) Enter(name string) (*Dir, error) {
	fd, err := openat(d.FD(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, d.failed("open directory", name, err)
	}
	p := path.Join(d.path, name)
	return &Dir{file: os.NewFile(uintptr(fd), p), path: p}, nil
}

// Unlink removes a file that is not a directory.
func (d *Dir) Unlink(name string) error {
	if err := unix.Unlinkat(d.FD(), name, 0); err != nil {
		return d.failed("remove", name, err)
	}
	return nil
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	if err := unix.Unlinkat(d.FD(), name, unix.AT_REMOVEDIR); err != nil {
		return d.failed("remove directory", name, err)
	}
	return nil
}

// readOnly says whether the file's file system or mount is read-only. It is replaced in a test.
var readOnly = func(fd int) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(fd, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}

// Writable returns nil if names can be created in the directory, or why not (EROFS, EACCES).
func (d *Dir) Writable() error {
	// Before Linux 5.8, or if faccessat2(2) is filtered, the library's answer below only
	// depends on the mode.
	if readOnly(d.FD()) {
		return unix.EROFS
	}
	return unix.Faccessat(unix.AT_FDCWD, d.procPath(), unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// mkdir creates and opens a directory with mode 0755. fresh says that this call created it.
func (d *Dir) mkdir(name string) (child *Dir, fresh bool, err error) {
	err = unix.Mkdirat(d.FD(), name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, false, d.failed("make directory", name, err)
	}
	fresh = err == nil
	child, err = d.Enter(name)
	return child, fresh && child != nil, err
}

// procPath returns a path to the directory that does not resolve its own path.
func (d *Dir) procPath() string { return handlePath(d.file) }

func (d *Dir) failed(action, name string, err error) error {
	return fmt.Errorf("cannot %s %s: %w", action, path.Join(d.path, name), err)
}

func newStat(st *unix.Stat_t) Stat {
	kinds := map[uint32]Kind{
		unix.S_IFSOCK: Socket, unix.S_IFLNK: Link, unix.S_IFDIR: Directory, unix.S_IFREG: Regular,
		unix.S_IFCHR: Device, unix.S_IFBLK: Device, unix.S_IFIFO: FIFO,
	}
	return Stat{Kind: kinds[st.Mode&unix.S_IFMT], ID: file.IDOf(st),
		Owner: Owner{UID: int(st.Uid), GID: int(st.Gid), Mode: st.Mode &^ unix.S_IFMT}}
}

// openat is openat(2), repeated after a signal.
func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// errno returns only the system call's error, if err has one: pathrs-lite adds its own words
// and paths.
func errno(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

func missing(err error) bool { return errors.Is(err, unix.ENOENT) }
