package target

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"

	"devlog/internal/rootfs"
)

// MountOf returns the mount with that number from the container's mount table; nil for
// none.
func (t *Target) MountOf(id int) (*mountinfo.Info, error) {
	table, err := os.Open("/proc/" + strconv.Itoa(t.PID) + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot read the container's mount table: %w", err)
	}
	defer table.Close()
	list, err := mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) { return m.ID != id, m.ID == id })
	if err != nil {
		return nil, fmt.Errorf("cannot read the container's mount table: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list[0], nil
}

// OwnTmpfs returns the directory over which a repair mounted the tmpfs that d is on; nil if
// d is not on such a tmpfs. It relies on the mount table, not on the record, which could
// name any mount.
func (t *Target) OwnTmpfs(d *rootfs.Dir) *rootfs.Dir {
	id, err := d.MountID()
	if err != nil || t.PID == 0 {
		return nil
	}
	m, err := t.MountOf(id)
	if err != nil || m == nil || m.FSType != "tmpfs" || m.Source != rootfs.TmpfsSource {
		return nil
	}
	top, err := t.Root.Dir(m.Mountpoint)
	if err != nil {
		return nil
	}
	if at, err := top.MountID(); err != nil || at != id {
		top.Close()
		return nil
	}
	return top
}

// IsShared returns whether mountinfo's optional fields name a peer group
// (proc_pid_mountinfo(5)).
func IsShared(optional string) bool {
	for field := range strings.FieldsSeq(optional) {
		if strings.HasPrefix(field, "shared:") {
			return true
		}
	}
	return false
}
