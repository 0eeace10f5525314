package rootfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
)

// The main goroutine stays on the main thread, so that no other can get it: a
// thread that has entered another namespace ends with its goroutine, but the
// main one cannot, and is what /proc/self shows.
func init() { runtime.LockOSThread() }

// Mounts is the mount namespace of a container, where things can be mounted
// for it alone. The zero value is the namespace of this process.
type Mounts struct {
	// Namespace is a handle that setns(2) takes: a namespace file or a pidfd;
	// nil for this process's own namespace.
	Namespace *os.File
}

// do runs f on a thread of its own inside the namespace. The thread's working
// directory is its own too, so that f can use "." for a directory: paths do
// not lead to a handle in another namespace, and its /proc may be another's.
func (m Mounts) do(f func() error) error {
	return dirfd.InMounts(m.Namespace, f)
}

// TmpfsSource is what the mount table has for the source of a tmpfs of Tmpfs.
const TmpfsSource = "devlog"

// Tmpfs mounts a small tmpfs over the directory, mode 0755, owned by that user
// and group. The handle d still leads to what is below it.
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

// tmpfsOptions are those of tmpfs(5). Where an int has 32 bits the larger IDs are
// negative, as the system calls take them.
func tmpfsOptions(uid, gid int) string {
	return fmt.Sprintf("mode=755,size=64k,nr_inodes=32,uid=%d,gid=%d", uint32(uid), uint32(gid))
}

// Contain takes the mount at that path in the namespace out of its peer group
// (mount_namespaces(7)): it receives mounts still, and passes none on.
func (m Mounts) Contain(path string) error {
	return m.do(func() error {
		if err := unix.Mount("", path, "", unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("take %s out of its peer group: %w", path, err)
		}
		return nil
	})
}

// Over mounts the file from, a link or a socket in the directory src, over the
// file to in the directory dst, following neither. Before Linux 5.2 there is
// no mounting of links: the error is ENOSYS.
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

// OverOld is Over with mount(2) alone, for a socket, and where to is no link:
// mount(2) follows links. This process's /proc must be visible in the
// namespace.
func (m Mounts) OverOld(src *Dir, from string, dst *Dir, to string) error {
	return m.do(func() error {
		f, st, err := src.Hold(from)
		if err != nil {
			return err
		}
		defer f.Close()
		g, at, err := dst.Hold(to)
		if err != nil {
			return err
		}
		defer g.Close()
		if st.Kind == Link || at.Kind == Link {
			return dst.failed("mount over", to, unix.ELOOP)
		}
		if err := unix.Mount(handlePath(f), handlePath(g), "", unix.MS_BIND, ""); err != nil {
			return dst.failed("mount over", to, err)
		}
		return nil
	})
}

// Unmount removes what is mounted over the name in the directory; it is not
// followed. With an empty name it is what is mounted over the directory.
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

// TakeOff is Unmount of a file, that can be put back: the function it returns does
// that, or with keep false lets go of it.
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

// MountID tells the mount on which the directory is from others, as mountinfo
// does (proc(5), "/proc/PID/fdinfo").
func (d *Dir) MountID() (int, error) { return mountID(d.file) }

func mountID(f *os.File) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return 0, fmt.Errorf("find the mount of %s: %w", f.Name(), err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("find the mount of %s: %w", f.Name(), errors.ErrUnsupported)
}

// MountedOver says whether something is mounted over the name.
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

// HoldOwn is Hold of what is in the directory itself: where something is mounted
// over the name, in whatever mount namespace the directory is of, the error is
// EXDEV. To rename and to remove a name does not cross a mount, and to look at it
// does: who only looks would take the one for the other.
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
