package handover

import (
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/pidfd"
)

// A service manager can keep open files (FileDescriptorStoreMax= of systemd.service(5)) for a
// program that it restarts after a kill.

// StoredName returns the service manager's name for an open file. It is the kernel's name for it,
// so that no file is stored twice.
func StoredName(fd int) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("cannot describe descriptor %d: %w", fd, err)
	}
	kind := "file"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		kind = "socket"
	case unix.S_IFDIR:
		kind = "directory"
	default:
		// Before Linux 6.9 all pidfds had one inode number.
		if pid, err := pidfd.PID(fd); err == nil {
			kind = "process-" + strconv.Itoa(pid)
		}
	}
	id := file.IDOf(&st)
	return kind + "-" + strconv.FormatUint(id.Dev, 16) + "-" + strconv.FormatUint(id.Ino, 10), nil
}

// Store replaces each descriptor by the index of its file's StoredName in names, after keep has
// given the file to the service manager.
func (d *Description) Store(keep func(name string, fd int) error) (names []string, err error) {
	err = d.Each(func(fd *int) error {
		if *fd < 0 {
			return nil
		}
		name, err := StoredName(*fd)
		if err != nil {
			return err
		}
		at := slices.Index(names, name)
		if at < 0 {
			at = len(names)
			names = append(names, name)
			err = keep(name, *fd)
		}
		*fd = at
		return err
	})
	return names, err
}

// Unstore replaces each index of names, which Store has put there, by a duplicate of the given
// descriptor of that name; -1 without one. Two handles on one directory are one file for the
// service manager.
func (d *Description) Unstore(names []string, given map[string]int) error {
	return d.Each(func(fd *int) error {
		index := *fd
		if *fd = -1; index < 0 || index >= len(names) {
			return nil
		}
		from, ok := given[names[index]]
		if !ok {
			return nil
		}
		twin, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot use descriptor %d of the earlier receiver: %w", from, err)
		}
		*fd = twin
		return nil
	})
}
