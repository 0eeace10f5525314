package running

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"devlog/internal/daemon"
	"devlog/internal/memfd"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/sandbox"
)

// confinedPrefix begins the name, in /proc/PID/fd, of the file by which a receiver reports how
// it is confined.
const confinedPrefix = memfd.Prefix + daemon.ConfinedPrefix

// rightsOf returns the privileges of the receiver with that process ID; nil if it has
// ended.
func rightsOf(pid int) *plan.Rights {
	f := &plan.Rights{Landlock: sandbox.ABI()}
	proc := "/proc/" + strconv.Itoa(readerOf(pid))
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		return nil
	}
	f.NoNewPrivs = pidfd.Field(string(text), "NoNewPrivs") == "1"
	f.Capabilities = pidfd.Field(string(text), "CapEff")
	fds, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return f
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, confinedPrefix) {
			f.Confined = strings.TrimSuffix(strings.TrimPrefix(to, confinedPrefix), " (deleted)")
		}
	}
	return f
}
