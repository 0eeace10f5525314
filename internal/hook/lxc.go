package hook

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// The types of LXC hooks that are supported (lxc.container.conf(5), "CONTAINER HOOKS").
const (
	// LXCStart runs in the container's namespaces, just before its init is executed.
	LXCStart = "start"
	// LXCStartHost runs on the host, after LXCStart and before the init.
	LXCStartHost = "start-host"
	// LXCPostStop runs on the host after the container's end.
	LXCPostStop = "post-stop"
)

// LXC is a call by LXC.
type LXC struct {
	// Name is the container's name.
	Name string
	// Type is the hook's type: start, stop, mount, ...
	Type string
	// PID is the container's init, as the host sees it (LXC_PID); 0 if LXC does not set it.
	PID int
	// Rootfs is the container's root directory on the host (LXC_ROOTFS_PATH); empty if it is
	// not a directory.
	Rootfs string
}

// ParseLXC returns LXC's call, and whether it is one: LXC passes "NAME lxc TYPE" as arguments
// (lxc.hook.version 0), or LXC_NAME and LXC_HOOK_TYPE in the environment (version 1). args are
// without the program's name.
func ParseLXC(args []string, getenv func(string) string) (call LXC, ok bool) {
	switch {
	case len(args) >= 3 && args[1] == "lxc" && args[0] == getenv("LXC_NAME"):
		call = LXC{Name: args[0], Type: args[2]}
	case len(args) == 0 && getenv("LXC_HOOK_TYPE") != "":
		call = LXC{Name: getenv("LXC_NAME"), Type: getenv("LXC_HOOK_TYPE")}
	default:
		return LXC{}, false
	}
	if pid, err := strconv.Atoi(getenv("LXC_PID")); err == nil && pid > 0 {
		call.PID = pid
	}
	// The value is TYPE:PATH. The default type is dir (lxc.rootfs.path).
	if rootfs := strings.TrimPrefix(getenv("LXC_ROOTFS_PATH"), "dir:"); filepath.IsAbs(rootfs) {
		call.Rootfs = rootfs
	}
	return call, true
}

// OnHost returns whether the hook runs on the host.
func (c LXC) OnHost() bool { return c.Type != LXCStart }

// Check returns an error if hooks of this type are not supported.
func (c LXC) Check() error {
	switch c.Type {
	case LXCStart, LXCPostStop:
	case LXCStartHost:
		if c.PID == 0 {
			return fmt.Errorf("LXC_PID is not the container's init, as %s hooks get it", c.Type)
		}
	default:
		return fmt.Errorf("LXC hook type %q cannot be used; hint: set lxc.hook.start to this program, or lxc.hook.start-host and lxc.hook.post-stop, not lxc.hook.%s", c.Type, c.Type)
	}
	if err := CheckName(c.Name); err != nil {
		return fmt.Errorf("bad container name: %w", err)
	}
	return nil
}
