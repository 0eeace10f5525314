package hosts

import (
	"devlog/internal/names"
	"devlog/internal/rootfs"
	"devlog/internal/target"
)

// Prepared returns whether the host whose /dev the target has is prepared.
func Prepared(t *target.Target) bool {
	dev, err := t.Root.Dir(names.Dev)
	if err != nil {
		return false
	}
	defer dev.Close()
	st, err := dev.Lstat(names.HostSocket)
	return err == nil && st.Kind == rootfs.Socket
}
