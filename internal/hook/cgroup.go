package hook

import (
	"path"
	"strings"
)

// NameFromCgroup guesses a container's name from the cgroups of one of its
// processes, the text of /proc/PID/cgroup (cgroups(7)): the outermost element
// under which the common runtimes put a container, since the container itself
// can make those further in. It is empty where no cgroup looks like one's.
func NameFromCgroup(text string) string {
	return nameFromCgroup(text, func(name string) bool { return CheckName(name) == nil })
}

// RawNameFromCgroup is NameFromCgroup for a name as the runtime has it, which may
// be none that CheckName takes.
func RawNameFromCgroup(text string) string {
	return nameFromCgroup(text, func(name string) bool { return name != "" })
}

func nameFromCgroup(text string, accepted func(string) bool) string {
	for line := range strings.Lines(text) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		found := ""
		for at := fields[2]; at != "/" && at != "."; at = path.Dir(at) {
			if name := containerName(path.Base(path.Dir(at)), path.Base(at)); accepted(name) {
				found = name
			}
		}
		if found != "" {
			return found
		}
	}
	return ""
}

// containerName is the container's name that an element of a cgroup's path
// stands for, if it does.
func containerName(parent, element string) string {
	name := ""
	switch {
	case strings.HasPrefix(element, "lxc.payload."):
		name = strings.TrimPrefix(element, "lxc.payload.")
	case strings.HasSuffix(element, ".scope"): // systemd: RUNTIME-ID.scope
		runtime, id, _ := strings.Cut(strings.TrimSuffix(element, ".scope"), "-")
		switch runtime {
		case "docker", "libpod", "crio", "runc", "crun":
			name = id
		case "cri": // cri-containerd-ID
			name = strings.TrimPrefix(id, "containerd-")
		}
	case parent == "lxc" || parent == "docker":
		name = element
	case strings.HasPrefix(element, "libpod-"):
		name = strings.TrimPrefix(element, "libpod-")
	}
	return name
}
