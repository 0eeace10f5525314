package hook

import (
	"path"
	"strconv"
	"strings"
)

// NameFromCgroup guesses a container's name from /proc/PID/cgroup (cgroups(7)) of one of its
// processes. It uses the outermost cgroup under which a common runtime puts a container: the
// container can make inner ones itself. It returns "" if no cgroup looks like a container's.
func NameFromCgroup(text string) string {
	return nameFromCgroup(text, func(name string) bool { return CheckName(name) == nil })
}

// RawNameFromCgroup is NameFromCgroup without CheckName: it returns the runtime's name for the
// container.
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

// containerName returns the name of the container whose cgroup is element in the directory
// dir; "" if it is not a container's.
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

// unescapeUnit undoes systemd-escape(1) for a part of a unit's name.
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

// withoutPart returns the container's ID: podman and CRI-O name their monitor's cgroup
// conmon-ID, and podman names the cgroup of a service's container (a quadlet) payload-ID.
func withoutPart(id string) string {
	for _, part := range []string{"conmon-", "payload-"} {
		if rest, ok := strings.CutPrefix(id, part); ok {
			return rest
		}
	}
	return id
}

// isPod returns whether the cgroup is a pod's, as kubelet names them without systemd:
// kubepods/[QOS/]podUID.
func isPod(dir string) bool {
	above := path.Dir(dir)
	return strings.HasPrefix(path.Base(dir), "pod") && (path.Base(above) == "kubepods" || path.Base(path.Dir(above)) == "kubepods")
}
