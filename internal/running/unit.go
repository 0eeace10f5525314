package running

import (
	"os"
	"path"
	"strconv"
	"strings"

	"devlog/internal/daemon"
)

// UnitOf is the service of systemd's that the process, a receiver, is or was
// started in, if that may be one of receivers'; else empty.
func UnitOf(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	return parseUnit(string(text))
}

// parseUnit is unitOf for the text of a /proc/PID/cgroup (cgroups(7)).
func parseUnit(text string) string {
	for line := range strings.Lines(text) {
		dir, unit := path.Split(strings.TrimSpace(line))
		if strings.HasSuffix(path.Base(dir), ".slice") && strings.HasPrefix(unit, daemon.UnitPrefix) && strings.HasSuffix(unit, ".service") {
			return unit
		}
	}
	return ""
}
