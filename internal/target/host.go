package target

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/file"
	"devlog/internal/names"
	"devlog/internal/rootfs"
)

// IsHostPath returns whether the path leads to that file in this process's own root.
func IsHostPath(name string, id rootfs.ID) (bool, error) {
	var st unix.Stat_t
	err := unix.Stat(name, &st)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot compare %s with the host: %w", name, err)
	}
	return file.IDOf(&st) == id, nil
}

// InitPIDNamespace is the inode number of the first PID namespace
// (PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h).
const InitPIDNamespace = 0xEFFFFFFC

// OnHost returns whether this process is not in a container: it is in the first PID namespace
// and in process 1's mount namespace, or in the mount namespace in which a host was
// prepared.
func (t *Target) OnHost() bool {
	first, err := Namespace("1", "mnt")
	own, oerr := Namespace("self", "mnt")
	if err == nil && oerr == nil && t.PIDNS == InitPIDNamespace && own == first {
		return true
	}
	d, err := t.Root.Dir(path.Dir(names.DefaultSocket))
	if err != nil {
		return false
	}
	defer d.Close()
	r := changes.OfHost(d)
	return r != nil && r.MountNS == t.MountNS
}

// SharesPath returns whether the target's directory at path is this process's own too.
func (t *Target) SharesPath(path string) bool {
	var same bool
	err := rootfs.As(t.UID, t.GID, func() error {
		d, err := t.Root.Dir(path)
		if err != nil {
			return err
		}
		defer d.Close()
		st, err := d.Self()
		if err != nil {
			return err
		}
		same, err = IsHostPath(path, st.ID)
		return err
	})
	return err == nil && same
}
