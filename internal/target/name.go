package target

import (
	"os"
	"path/filepath"
	"strconv"

	"devlog/internal/hook"
	"devlog/internal/pidfd"
)

// NameOfProcess returns the name of the container that the process runs in, from its
// cgroup. Without one, the name is the process ID and its start time, so that a later
// process with the same ID has other logs.
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

// NameOfRoot derives a container's name from its root directory's path. Most engines keep the
// root in a directory of that name.
func NameOfRoot(root string) string {
	abs, err := filepath.Abs(root)
	if err != nil {
		abs = root
	}
	if base := filepath.Base(abs); base != "rootfs" && base != "/" {
		return base
	}
	return filepath.Base(filepath.Dir(abs))
}
