package hook

import (
	"path"
	"strconv"
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
			if name := containerName(path.Dir(at), path.Base(at)); accepted(name) {
				found = name
			}
		}
		if found != "" {
			return found
		}
	}
	return ""
}

// containerName is the container's name that an element of a cgroup's path, in
// that directory, stands for, if it does.
func containerName(dir, element string) string {
	name := ""
	unit, isScope := strings.CutSuffix(element, ".scope") // systemd: RUNTIME-ID.scope
	runtime, id, _ := strings.Cut(unit, "-")
	switch parent := path.Base(dir); {
	case isScope && runtime == "machine": // systemd-nspawn(1)
		name = unescapeUnit(id)
	case strings.HasPrefix(element, "systemd-nspawn@") && strings.HasSuffix(element, ".service"):
		name = unescapeUnit(strings.TrimSuffix(strings.TrimPrefix(element, "systemd-nspawn@"), ".service"))
	case strings.HasPrefix(element, "lxc.payload."):
		name = strings.TrimPrefix(element, "lxc.payload.")
	case parent == "lxc" || parent == "docker":
		name = element
	case (isScope || isPod(dir)) && runtime == "crio", runtime == "libpod":
		name = withoutPart(id)
	case isScope:
		switch runtime {
		case "docker", "runc", "crun", "nerdctl":
			name = id
		case "cri": // cri-containerd-ID
			name = strings.TrimPrefix(id, "containerd-")
		}
	case isPod(dir):
		name = element
	}
	return name
}

// unescapeUnit is the text that a part of a unit's name stands for, as systemd-escape(1)
// writes it.
func unescapeUnit(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		if len(text) >= 4 && strings.HasPrefix(text, `\x`) {
			if code, err := strconv.ParseUint(text[2:4], 16, 8); err == nil {
				b.WriteByte(byte(code))
				text = text[4:]
				continue
			}
		}
		c := text[0]
		if c == '-' {
			c = '/'
		}
		b.WriteByte(c)
		text = text[1:]
	}
	return b.String()
}

// withoutPart is the container's ID: podman and CRI-O have its monitor in a cgroup
// conmon-ID, and podman the container of a service (a quadlet) in payload-ID.
func withoutPart(id string) string {
	for _, part := range []string{"conmon-", "payload-"} {
		if rest, ok := strings.CutPrefix(id, part); ok {
			return rest
		}
	}
	return id
}

// isPod says whether a cgroup is that of a pod, as kubelet names them without
// systemd: kubepods/[QOS/]podUID.
func isPod(dir string) bool {
	above := path.Dir(dir)
	return strings.HasPrefix(path.Base(dir), "pod") && (path.Base(above) == "kubepods" || path.Base(path.Dir(above)) == "kubepods")
}
