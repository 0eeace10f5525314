package plan

import (
	"strconv"
)

// Rights are the privileges of a running receiver.
type Rights struct {
	// NoNewPrivs and Capabilities are as in proc_pid_status(5).
	NoNewPrivs   bool   `json:"no_new_privs"`
	Capabilities string `json:"capabilities"`
	// Confined is how it is confined, in its own words; empty if it is an earlier version
	// or still starting.
	Confined string `json:"confined,omitempty"`
	// Landlock is the version of the kernel's Landlock ABI; 0 for none.
	Landlock int `json:"landlock"`
}

// inWords describes how the receiver is confined.
func (f *Rights) inWords() string {
	switch caps, err := strconv.ParseUint(f.Capabilities, 16, 64); {
	case f.Confined != "":
		return f.Confined
	case f.NoNewPrivs:
		return "no new privileges"
	case err == nil && caps == 0:
		return "no capabilities"
	}
	return "not confined"
}
