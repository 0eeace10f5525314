package plan

import (
	"strconv"
)

// Rights are the rights of a receiver that runs.
type Rights struct {
	// NoNewPrivs and Capabilities are as in proc_pid_status(5).
	NoNewPrivs   bool   `json:"no_new_privs"`
	Capabilities string `json:"capabilities"`
	// Confined is how it is confined, as it says itself; empty if it says
	// nothing: it is of an earlier version, or has not come to that.
	Confined string `json:"confined,omitempty"`
	// Landlock is the version of the kernel's Landlock; 0 is none.
	Landlock int `json:"landlock"`
}

// inWords says how the receiver is confined.
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
