package devlog

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"devlog/internal/daemon"
	"devlog/internal/sandbox"
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

// markPrefix begins what such a file is called in /proc/PID/fd.
const markPrefix = "/memfd:" + daemon.MarkPrefix

// rightsOf are the rights of the receiver with that process ID; nil if it has
// ended.
func rightsOf(pid int) *Rights {
	f := &Rights{Landlock: sandbox.ABI()}
	proc := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch key {
		case "NoNewPrivs":
			f.NoNewPrivs = value == "1"
		case "CapEff":
			f.Capabilities = value
		}
	}
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return f
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, markPrefix) {
			f.Confined = strings.TrimSuffix(strings.TrimPrefix(to, markPrefix), " (deleted)")
		}
	}
	return f
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
