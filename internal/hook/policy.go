package hook

import (
	"slices"
	"strings"
)

// What a hook does if it cannot repair (--on-error).
const (
	OnErrorStart = "start"
	OnErrorFail  = "fail"
)

// OnErrorVariable is the environment variable that sets --on-error.
const OnErrorVariable = "DEVLOG_ON_ERROR"

// Policy is how to treat errors. It is read without parsing, so that it also holds for
// errors in the command line.
type Policy struct {
	// Hook says that a container runtime has called this program.
	Hook bool
	// Fail says that the hook fails if it cannot repair.
	Fail bool
}

// Typed are the commands that people type. They fail with an exit code.
var Typed = []string{"check", "repair", "undo", "list", "auto-repair", "config", "help"}

// ReadPolicy looks at the arguments, the program's name first.
func ReadPolicy(args []string, getenv func(string) string) Policy {
	how := getenv(OnErrorVariable)
	for i, arg := range args {
		name, value, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case name != "on-error" || !strings.HasPrefix(arg, "-"):
		case hasValue:
			how = value
		case i+1 < len(args):
			how = args[i+1]
		}
	}
	if call, ok := ParseLXC(args[1:], getenv); ok { // also if the container's name is a command
		return Policy{Hook: true, Fail: how == OnErrorFail && call.Type != LXCPostStop}
	}
	ended := slices.Contains(args, string(Poststop)) || slices.Contains(args, "--stage="+string(Poststop)) ||
		getenv("DEVLOG_STAGE") == string(Poststop) || slices.Contains(args, LXCPostStop) || getenv("LXC_HOOK_TYPE") == LXCPostStop
	p := Policy{Fail: how == OnErrorFail && !ended}
	if len(args) < 2 || !slices.Contains(Typed, args[1]) {
		p.Hook = slices.Contains(args, "oci") || getenv("LXC_HOOK_TYPE") != "" || getenv("LXC_NAME") != "" && slices.Contains(args, "lxc")
	}
	return p
}
