package target

import (
	"os"
	"strconv"

	"devlog/internal/hook"
	"devlog/internal/pidfd"
)

// NameOfProcess is the name of the container that the process runs in: its
// cgroup's, or the number and the time of its start: a later process with the same
// number has other logs.
func NameOfProcess(pid int) string {
	if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup"); err == nil {
		if name := hook.NameFromCgroup(string(text)); name != "" {
			return name
		}
	}
	name := "pid-" + strconv.Itoa(pid)
	if started, err := pidfd.StartTime(pid); err == nil {
		name += "-" + started
	}
	return name
}
