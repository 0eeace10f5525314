package rootfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
)

// maxFile is how much ReadFile reads, in bytes.
const maxFile = 64 << 10

// ReadFile returns what is in a regular file of at most 64 KiB.
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

// WriteFile puts the data into a file of that name, mode 0644, in one step: the
// name has the old data or the new at any time.
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

// WriteNote puts a short text into the name in one step, as what a link says:
// whoever may open no file in the directory, where one could be a device, can
// read and write it all the same. Where a link cannot hold it, it is a file.
func (d *Dir) WriteNote(name string, text []byte) error {
	tmp := TempName(name)
	err := d.Symlink(string(text), tmp)
	if errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EPERM) {
		return d.WriteFile(name, text)
	}
	if err != nil {
		return err
	}
	if err := d.Rename(tmp, name); err != nil {
		return errors.Join(err, d.Unlink(tmp))
	}
	return nil
}

// ReadNote returns what WriteNote wrote, or what is in a regular file.
func (d *Dir) ReadNote(name string) ([]byte, error) {
	data, err := dirfd.ReadNote(d.FD(), name, maxFile)
	if err != nil {
		return nil, d.failed("read", name, err)
	}
	return data, nil
}

// Empty says whether there is nothing in the directory.
func (d *Dir) Empty() (bool, error) {
	names, err := d.Names(1)
	return len(names) == 0, err
}

// Names lists at most that many names in the directory, all of them if limit is 0.
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

// HardLink gives the file of that identity another name in the directory, in place
// of what has it. The file has both names afterwards.
func (d *Dir) HardLink(from, to string, id ID) error {
	tmp, err := d.Claim(func(tmp string) error { return d.Link(from, tmp, id) })
	if err != nil {
		return err
	}
	err = d.Rename(tmp, to)
	// rename(2) between two names of one file does nothing and keeps both.
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

// MakeSocketFile makes a socket's name with no socket behind it, as a daemon
// that has ended leaves it, with that owner and mode.
func (d *Dir) MakeSocketFile(name string, o Owner) error {
	if err := unix.Mknodat(d.FD(), name, unix.S_IFSOCK|0o600, 0); err != nil {
		return d.failed("make", name, err)
	}
	_, err := d.ownSocket(name, &o)
	return err
}
