package containers

import (
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// A monitor is an engine's process that outlives the runtime and is the parent of a
// container's first process. A container cannot choose its parent.
type monitor struct {
	pid    int
	engine string
	// id and name are the container's. A shim may monitor more containers.
	id, name string
	shim     bool
	// bundle is the directory with the container's config.json. bundles is its parent, if a
	// shim has several. Both are empty if not known.
	bundle, bundles string
}

// The monitors' programs as in /proc/PID/stat, which cuts names to 15 bytes.
const (
	conmonComm = "conmon"
	shimComm   = "containerd-shim"
	nspawnComm = "systemd-nspawn"
)

// lxcTitle begins the title of LXC's monitor.
const lxcTitle = "[lxc monitor]"

// isMonitorComm returns whether a process with that name may be a monitor.
func isMonitorComm(comm string) bool {
	switch comm {
	case conmonComm, shimComm, nspawnComm, "lxcd":
		return true
	}
	return strings.HasPrefix(comm, "lxc-") || strings.HasPrefix(comm, lxcTitle)
}

// parseMonitor reads a monitor's /proc/PID/cmdline: the arguments, each with a NUL after it.
// Its id is empty if the process monitors no container.
func parseMonitor(comm string, cmdline []byte) monitor {
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	switch comm {
	case conmonComm:
		return parseConmon(args)
	case shimComm:
		m := monitor{engine: containerd, shim: true, id: option(args, "-id")}
		if option(args, "-namespace") == "moby" {
			m.engine = docker
		}
		return m
	case nspawnComm:
		name := option(args, "-M", "--machine")
		if name == "" {
			name = path.Base(option(args, "-D", "--directory", "-i", "--image"))
		}
		if name == "." || name == "/" {
			name = ""
		}
		return monitor{engine: nspawn, id: name, name: name}
	}
	// LXC overwrites its arguments with: [lxc monitor] PATH NAME
	rest, ok := strings.CutPrefix(args[0], lxcTitle+" ")
	if at := strings.LastIndexByte(rest, ' '); ok && at >= 0 {
		return monitor{engine: lxc, id: rest[at+1:], name: rest[at+1:]}
	}
	return monitor{}
}

// parseConmon reads the arguments of conmon, the monitor of podman and CRI-O.
func parseConmon(args []string) monitor {
	if end := slices.Index(args, "--exit-command"); end >= 0 { // podman's own arguments follow
		args = args[:end]
	}
	for _, arg := range args {
		if arg == "-e" || arg == "--exec-attach" || strings.HasPrefix(arg, "--exec-process-spec") {
			return monitor{} // it monitors a command in a running container
		}
	}
	m := monitor{engine: podman, id: option(args, "-c", "--cid"), name: option(args, "-n", "--name"), bundle: option(args, "-b", "--bundle")}
	if strings.HasPrefix(m.name, "k8s_") { // CRI-O: k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT
		m.engine, m.name = crio, ""
	}
	if !path.IsAbs(m.bundle) {
		m.bundle = ""
	}
	return m
}

// option returns the value of the first of these options that is given, as NAME VALUE or
// NAME=VALUE.
func option(args []string, names ...string) string {
	for i, arg := range args {
		for _, name := range names {
			if value, ok := strings.CutPrefix(arg, name+"="); ok {
				return value
			}
			if arg == name && i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return ""
}

func ownerOf(info os.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
