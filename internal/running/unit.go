package running

import (
	"os"
	"path"
	"strconv"
	"strings"

	"devlog/internal/names"
	"devlog/internal/nodecall"
)

// UnitOf returns the systemd service that restarts the receiver, or the host's watcher; empty for
// none.
func UnitOf(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	return parseUnit(string(text))
}

// parseUnit is UnitOf for the text of a /proc/PID/cgroup (cgroups(7)).
func parseUnit(text string) string {
	for line := range strings.Lines(text) {
		dir, unit := path.Split(strings.TrimSpace(line))
		if strings.HasSuffix(path.Base(dir), ".slice") && (unit == nodecall.Unit || unit == names.HostUnit) {
			return unit
		}
	}
	return ""
}
