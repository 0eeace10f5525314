package hook

import (
	"fmt"
)

// LXCStart is the type of LXC's hook that runs in the container's namespaces,
// right before its init is executed (lxc.container.conf(5), "lxc.hook.start").
const LXCStart = "start"

// LXC is a call by LXC.
type LXC struct {
	// Name is the container's name.
	Name string
	// Type is the hook's type: start, stop, mount, ...
	Type string
}

// ParseLXC returns LXC's call, if it is one: LXC passes "NAME lxc TYPE" as
// arguments (lxc.hook.version 0) or LXC_NAME and LXC_HOOK_TYPE in the
// environment (version 1). args are without the program's name.
func ParseLXC(args []string, getenv func(string) string) (call LXC, ok bool) {
	switch {
	case len(args) >= 3 && args[1] == "lxc" && args[0] == getenv("LXC_NAME"):
		return LXC{Name: args[0], Type: args[2]}, true
	case len(args) == 0 && getenv("LXC_HOOK_TYPE") != "":
		return LXC{Name: getenv("LXC_NAME"), Type: getenv("LXC_HOOK_TYPE")}, true
	}
	return LXC{}, false
}

// Check says why a hook of this type cannot be served.
func (c LXC) Check() error {
	if c.Type != LXCStart {
		return fmt.Errorf("LXC hook type %q cannot be used: set lxc.hook.start to this program, not lxc.hook.%s", c.Type, c.Type)
	}
	if err := CheckName(c.Name); err != nil {
		return fmt.Errorf("bad container name: %w", err)
	}
	return nil
}
