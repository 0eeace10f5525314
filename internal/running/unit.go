package running

import (
	"os"
	"path"
	"strconv"
	"strings"

	"devlog/internal/nodecall"
)

// UnitOf returns the receiver's systemd service; empty for none.
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
		if strings.HasSuffix(path.Base(dir), ".slice") && unit == nodecall.Unit {
			return unit
		}
	}
	return ""
}
