package containers

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"strconv"
	"strings"

	"devlog/internal/file"
	"devlog/internal/hook"
)

// maxAncestors is the most steps from a container's first process to its monitor: the runtime
// is in between while it starts the container.
const maxAncestors = 8

// maxProc is the most that is read of a file in /proc, in bytes.
const maxProc = 64 << 10

// process is a process in /proc.
type process struct {
	pid, parent int
	comm        string
	started     uint64 // in clock ticks since the boot
	cgroup      string // the content of its cgroup file
	mounts      string // its mount namespace; empty if this process may not see it
	// isMonitor says that it is an engine's process on the host. If its arguments name a
	// container, one describes it.
	isMonitor bool
	monitors  monitor
}

// processes returns the processes in /proc, without kernel threads.
func (h Host) processes() (list []process) {
	entries, err := os.ReadDir(h.path("proc"))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := h.process(pid); ok {
				list = append(list, p)
			}
		}
	}
	return list
}

// process returns the process; ok is false if it has ended.
func (h Host) process(pid int) (p process, ok bool) {
	if pid <= 0 {
		return process{}, false
	}
	dir := "proc/" + strconv.Itoa(pid)
	text, err := file.Read(h.path(dir+"/stat"), maxProc)
	if err != nil {
		return process{}, false
	}
	if p, ok = parseStat(text); !ok {
		return process{}, false
	}
	cgroup, err := file.Read(h.path(dir+"/cgroup"), maxProc)
	if err != nil {
		return process{}, false
	}
	p.pid, p.cgroup, p.mounts = pid, string(cgroup), h.namespace(strconv.Itoa(pid), "mnt")
	if p.isMonitor = isMonitorComm(p.comm) && !p.isContained(h); !p.isMonitor {
		return p, true
	}
	if line, err := file.Read(h.path(dir+"/cmdline"), maxProc); err == nil {
		p.monitors = parseMonitor(p.comm, line)
	}
	if cwd, err := os.Readlink(h.path(dir + "/cwd")); err == nil && p.monitors.shim && path.IsAbs(cwd) {
		p.monitors.bundles = path.Dir(cwd)
	}
	return p, true
}

// isContained returns whether the process itself is in a container. Then it may only have a
// monitor's name to look like one.
func (p process) isContained(h Host) bool {
	own, other := h.namespace(h.Self, "pid"), h.namespace(strconv.Itoa(p.pid), "pid")
	if own != "" && other != "" && own != other {
		return true
	}
	id := cmp.Or(hook.RawNameFromCgroup(p.cgroup), longID(p.cgroup))
	return id != "" && !isMonitorsCgroup(p.cgroup, id)
}

// isMonitorsCgroup returns whether the cgroups are those of the monitor of the container with
// that ID. podman and CRI-O name them conmon-ID.
func isMonitorsCgroup(cgroup, id string) bool {
	for line := range strings.Lines(cgroup) {
		if before, _, ok := strings.Cut(line, id); ok {
			return strings.HasSuffix(before, "conmon-")
		}
	}
	return false
}

// namespace identifies a process's namespace; empty if this process may not see it.
func (h Host) namespace(process, kind string) string {
	ns, err := os.Readlink(h.path("proc/" + process + "/ns/" + kind))
	if err != nil {
		return ""
	}
	return ns
}

// owned returns whether root, or this user, controls what the process shows: another user
// could make root read files that never end.
func (h Host) owned(pid int) bool {
	info, err := os.Stat(h.path("proc/" + strconv.Itoa(pid)))
	return err == nil && (ownerOf(info) == 0 || ownerOf(info) == os.Geteuid())
}

// parseStat reads the text of a /proc/PID/stat (proc_pid_stat(5)).
func parseStat(text []byte) (p process, ok bool) {
	begin, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return process{}, false
	}
	fields := strings.Fields(string(text[end+1:])) // from the state on, the third field
	if len(fields) < 20 {
		return process{}, false
	}
	p.comm = string(text[begin+1 : end])
	var err error
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return process{}, false
	}
	if p.started, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return process{}, false
	}
	return p, true
}

// identity returns the ID and the engine of the process's container; empty if that cannot be
// told.
func (p process) identity(byPID map[int]process) (id, engine string) {
	m, monitored := p.monitor(byPID)
	id = hook.RawNameFromCgroup(p.cgroup)
	if id != "" {
		engine = engineOf(p.cgroup, id)
	} else if monitored {
		if id = longID(p.cgroup); id == "" { // somebody has chosen the cgroup's name
			id = m.id
		}
	}
	if monitored && (m.id == id || m.shim) {
		engine = m.engine
	}
	return id, engine
}

// monitor returns the nearest monitor above the process.
func (p process) monitor(byPID map[int]process) (m monitor, ok bool) {
	for range maxAncestors {
		parent, ok := byPID[p.parent]
		if !ok {
			return monitor{}, false
		}
		if p = parent; p.monitors.id != "" {
			m = p.monitors
			m.pid = p.pid
			return m, true
		}
	}
	return monitor{}, false
}

// engineOf returns the engine whose container with that ID has the cgroups, found as in
// hook.NameFromCgroup; empty if not known.
func engineOf(cgroup, id string) string {
	for line := range strings.Lines(cgroup) {
		for dir := strings.TrimSpace(line); ; {
			at := strings.LastIndex(dir, "/")
			if at < 0 {
				break
			}
			element := dir[at+1:]
			dir = dir[:at]
			if before, _, ok := strings.Cut(element, id); ok {
				if engine := engineBy(before, path.Base(dir)); engine != "" {
					return engine
				}
			}
		}
	}
	if strings.Contains(cgroup, "/machine-") || strings.Contains(cgroup, "/systemd-nspawn@") { // the ID is written differently there
		return nspawn
	}
	return ""
}

// engineBy returns the engine that uses this prefix for its cgroups' names, or this directory.
func engineBy(prefix, dir string) string {
	switch {
	case strings.HasPrefix(prefix, "lxc."), prefix == "" && dir == "lxc":
		return lxc
	case strings.HasPrefix(prefix, "libpod-"):
		return podman
	case prefix == "docker-", prefix == "" && dir == "docker":
		return docker
	case strings.HasPrefix(prefix, "crio-"):
		return crio
	case prefix == "cri-containerd-", prefix == "nerdctl-":
		return containerd
	case prefix == "runc-":
		return runc
	case prefix == "crun-":
		return crun
	}
	return ""
}

// longID returns the outermost part of the cgroups that looks like an engine's ID.
func longID(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		for element := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			if isLongID(element) {
				return element
			}
		}
	}
	return ""
}

// isLongID returns whether the text is 64 hexadecimal digits, as in engines' IDs.
func isLongID(text string) bool {
	return len(text) == 64 && isHex(text)
}

func isHex(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
}
