package rootfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
)

// maxFile is the largest file that ReadFile reads, in bytes.
const maxFile = 64 << 10

// ReadFile returns the content of a regular file of at most 64 KiB.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	fd, err := file.OpenIn(d.FD(), name, unix.O_RDONLY, 0, file.Regular)
	if err != nil {
		return nil, d.failed("open", name, err)
	}
	data, err := file.ReadAll(os.NewFile(uintptr(fd), name), maxFile)
	if err != nil {
		return nil, d.failed("read", name, err)
	}
	return data, nil
}

// WriteFile writes the data to a file with mode 0644 in one step: at all times the name has
// the old data or the new.
func (d *Dir) WriteFile(name string, data []byte) error {
	tmp := TempName(name)
	fd, err := unix.Openat(d.FD(), tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return d.failed("make", tmp, err)
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(d.failed("write", tmp, err), d.Unlink(tmp))
	}
	if err := d.Rename(tmp, name); err != nil {
		return errors.Join(err, d.Unlink(tmp))
	}
	return nil
}

// WriteNote stores a short text under the name in one step, as the text of a link: a sandbox
// that must not open files in the directory, which could be devices, can still read and write
// it. If a link cannot hold the text, it becomes a regular file.
func (d *Dir) WriteNote(name string, text []byte) error {
	err := d.ReplaceLink(string(text), name)
	if errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM) {
		return d.WriteFile(name, text)
	}
	return err
}

// ReplaceLink makes a link with this text in one step. It replaces a file with that name.
func (d *Dir) ReplaceLink(text, name string) error {
	tmp := TempName(name)
	if err := d.Symlink(text, tmp); err != nil {
		return err
	}
	if err := d.Rename(tmp, name); err != nil {
		return errors.Join(err, d.Unlink(tmp))
	}
	return nil
}

// ReadNote returns what WriteNote wrote.
func (d *Dir) ReadNote(name string) ([]byte, error) {
	data, err := dirfd.ReadNote(d.FD(), name, maxFile)
	if err != nil {
		return nil, d.failed("read", name, err)
	}
	return data, nil
}

// Empty returns whether there is nothing in the directory.
func (d *Dir) Empty() (bool, error) {
	names, err := d.Names(1)
	return len(names) == 0, err
}

// Names returns at most limit names in the directory, or all if limit is 0.
func (d *Dir) Names(limit int) ([]string, error) {
	fd, err := openat(d.FD(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, d.failed("list", "", err)
	}
	f := os.NewFile(uintptr(fd), d.path)
	defer f.Close()
	if limit == 0 {
		limit = -1
	}
	names, err := f.Readdirnames(limit)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, d.failed("list", "", err)
	}
	return names, nil
}

// HardLink gives the file with that identity a second name in the directory, and replaces a
// file with that name.
func (d *Dir) HardLink(from, to string, id ID) error {
	tmp, err := d.Claim(func(tmp string) error { return d.Link(from, tmp, id) })
	if err != nil {
		return err
	}
	err = d.Rename(tmp, to)
	// Between two names of one file rename(2) does nothing and keeps both.
	if uerr := d.Unlink(tmp); err == nil && uerr != nil && !errors.Is(uerr, unix.ENOENT) {
		err = uerr
	}
	return err
}

// Link is HardLink that fails if the new name exists.
func (d *Dir) Link(from, to string, id ID) error {
	if err := unix.Linkat(d.FD(), from, d.FD(), to, 0); err != nil {
		return d.failed("link "+from+" to", to, err)
	}
	st, err := d.Lstat(to)
	if err == nil && st.ID != id {
		err = errors.Join(d.failed("link "+from+" to", to, unix.ESTALE), d.Unlink(to))
	}
	return err
}

// MakeSocketFile makes a dead socket with that owner and mode, such as a daemon leaves when it
// ends.
func (d *Dir) MakeSocketFile(name string, o Owner) error {
	if err := unix.Mknodat(d.FD(), name, unix.S_IFSOCK|0o600, 0); err != nil {
		return d.failed("make", name, err)
	}
	_, err := d.ownSocket(name, &o)
	return err
}
