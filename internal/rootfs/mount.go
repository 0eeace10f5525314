package rootfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/pidfd"
)

// The main goroutine stays on the main thread, so that no other goroutine gets it: a thread
// that has entered another namespace ends with its goroutine, but the main thread cannot, and
// /proc/self shows it.
func init() { runtime.LockOSThread() }

// Mounts is the mount namespace of a container, in which mounts are its own. The zero value is
// this process's namespace.
type Mounts struct {
	// Namespace is a handle for setns(2): a namespace file or a pidfd; nil for this
	// process's own namespace.
	Namespace *os.File
}

// do calls f on its own thread in the namespace. The thread has its own working directory, so
// that f can use "." for a directory: there a handle has no path, and /proc may be another's.
func (m Mounts) do(f func() error) error {
	return dirfd.InMounts(m.Namespace, f)
}

// TmpfsSource is the source of Tmpfs's mounts in the mount table.
const TmpfsSource = "devlog"

// Tmpfs mounts a small tmpfs over the directory, with mode 0755 and that owner. The handle d is
// still of the directory below it.
func (m Mounts) Tmpfs(d *Dir, uid, gid int) error {
	return m.do(func() error {
		if err := unix.Fchdir(d.FD()); err != nil {
			return d.failed("enter", "", err)
		}
		if err := unix.Mount(TmpfsSource, ".", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, tmpfsOptions(uid, gid)); err != nil {
			return d.failed("mount a tmpfs at", "", err)
		}
		return nil
	})
}

// tmpfsOptions returns options of tmpfs(5). If an int has 32 bits, large IDs are negative.
func tmpfsOptions(uid, gid int) string {
	return fmt.Sprintf("mode=755,size=64k,nr_inodes=32,uid=%d,gid=%d", uint32(uid), uint32(gid))
}

// Contain takes the mount at that path out of its peer group (mount_namespaces(7)): it still
// receives mounts, and propagates none.
func (m Mounts) Contain(path string) error {
	return m.do(func() error {
		if err := unix.Mount("", path, "", unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("cannot take %s out of its peer group: %w", path, err)
		}
		return nil
	})
}

// Over mounts the file from in the directory src, a link itself, over the file to in the
// directory dst.
func (m Mounts) Over(src *Dir, from string, dst *Dir, to string) error {
	return m.do(func() error {
		tree, err := dirfd.Clone(src.FD(), from)
		if err != nil {
			return src.failed("copy the mount of", from, err)
		}
		defer unix.Close(tree)
		if err := dirfd.Attach(tree, dst.FD(), to); err != nil {
			return dst.failed("mount over", to, err)
		}
		return nil
	})
}

// Unmount unmounts what is mounted over the name in the directory, a link itself, or with an
// empty name what is mounted over the directory.
func (m Mounts) Unmount(d *Dir, name string) error {
	return m.do(func() error {
		if err := unix.Fchdir(d.FD()); err != nil {
			return d.failed("enter", "", err)
		}
		at := name
		if at == "" {
			at = "."
		}
		if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return d.failed("unmount", name, err)
		}
		return nil
	})
}

// TakeOff is Unmount of a file that can be mounted again: putBack(true) mounts it again, and
// putBack(false) releases it.
func (m Mounts) TakeOff(d *Dir, name string) (putBack func(keep bool), err error) {
	tree := -1
	err = m.do(func() (err error) {
		tree, err = dirfd.Clone(d.FD(), name)
		if err != nil {
			return d.failed("copy the mount of", name, err)
		}
		return nil
	})
	if err == nil {
		err = m.Unmount(d, name)
	}
	if err != nil {
		if tree >= 0 {
			unix.Close(tree)
		}
		return nil, err
	}
	return func(keep bool) {
		if keep {
			_ = m.do(func() error { return dirfd.Attach(tree, d.FD(), name) })
		}
		unix.Close(tree)
	}, nil
}

// MountID returns the number of the directory's mount, as in mountinfo (proc_pid_fdinfo(5)).
func (d *Dir) MountID() (int, error) { return mountID(d.file) }

func mountID(f *os.File) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return 0, fmt.Errorf("cannot find the mount of %s: %w", f.Name(), err)
	}
	id, err := ParseMountID(string(text))
	if err != nil {
		return 0, fmt.Errorf("cannot find the mount of %s: %w", f.Name(), err)
	}
	return id, nil
}

// ParseMountID returns the number of the mount in the text of a /proc/PID/fdinfo/FD.
func ParseMountID(fdinfo string) (int, error) {
	if id := pidfd.Field(fdinfo, "mnt_id"); id != "" {
		return strconv.Atoi(id)
	}
	return 0, errors.ErrUnsupported
}

// MountedOver returns whether something is mounted over the name.
func (d *Dir) MountedOver(name string) (bool, error) {
	f, _, err := d.HoldOwn(name)
	if errors.Is(err, unix.EXDEV) {
		return true, nil
	}
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// HoldOwn is Hold of the file in the directory itself. If something is mounted over the name,
// in the mount namespace of the handle, the error is EXDEV. Renaming and removing a name does
// not cross a mount but examining it does, so one file could be mistaken for the other.
func (d *Dir) HoldOwn(name string) (*os.File, Stat, error) {
	f, st, err := d.Hold(name)
	if err != nil {
		return nil, st, err
	}
	at, err := mountID(f)
	self, serr := d.MountID()
	if err = errors.Join(err, serr); err == nil && at != self {
		err = d.failed("examine", name, unix.EXDEV)
	}
	if err != nil {
		f.Close()
		return nil, Stat{}, err
	}
	return f, st, nil
}
