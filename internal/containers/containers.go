// Package containers finds the containers of a host: their engines' names for them, and their
// processes. It reads /proc and the engines' files. It does not talk to engines.
package containers

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"devlog/internal/annotation"
)

// The engines, as people call them.
const (
	podman     = "podman"
	docker     = "docker"
	containerd = "containerd"
	crio       = "cri-o"
	lxc        = "lxc"
	nspawn     = "systemd-nspawn"
	runc       = "runc"
	crun       = "crun"
)

// Container is a running container.
type Container struct {
	// ID is the runtime's name for it, and Name is the user's, which may not be known. For LXC
	// and systemd-nspawn they are equal.
	ID, Name string
	// Engine is the program that starts it, such as podman; empty if not known.
	Engine string
	// PID is its first process, or its oldest one.
	PID int
	// Pod is its name in Kubernetes; zero outside Kubernetes.
	Pod annotation.Pod

	// Annotations are those that it has in its bundle, as far as they can be read.
	Annotations map[string]string
	// Sandbox says that it only holds a pod's namespaces.
	Sandbox bool
	// started distinguishes the process from a later one with the same ID.
	started uint64
}

// Called returns the name that people use: NAMESPACE_POD_CONTAINER in Kubernetes, otherwise
// Name, which may be empty.
func (c Container) Called() string {
	return cmp.Or(c.Pod.String(), c.Name)
}

// Host is where to look for containers.
type Host struct {
	// Root is the host's root directory: "/", or a test's.
	Root string
	// Self is this process's directory in /proc.
	Self string
}

// This returns the host of this process.
func This() Host { return Host{Root: "/", Self: "self"} }

func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

// List returns the running containers, and where it looked for them. It ignores what it cannot
// read: containers end meanwhile, and users may not see the containers of others.
func (h Host) List() (list []Container, looked Looked) {
	all := h.processes()
	looked.Processes = len(all)
	byPID := map[int]process{}
	for _, p := range all {
		byPID[p.pid] = p
	}
	found := map[int]Container{} // by their processes
	states, dirs := h.states(byPID)
	looked.Dirs = dirs
	for _, c := range states {
		found[c.PID] = c
	}
	for _, group := range h.groups(all, byPID) {
		c := h.describe(group[0], byPID)
		for _, p := range group { // the runtime knows which process is the first
			if known, ok := found[p.pid]; ok {
				c = merge(c, known)
				break
			}
		}
		found[c.PID] = c
	}
	list = slices.Collect(maps.Values(found))
	slices.SortFunc(list, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Called(), b.Called()), cmp.Compare(a.ID, b.ID), a.PID-b.PID)
	})
	return list, looked
}

// Runs returns whether the container's process still runs, and its ID does not belong to a
// later process.
func (h Host) Runs(c Container) bool {
	p, ok := h.process(c.PID)
	return ok && p.started == c.started
}

// merge combines what the processes and the runtime tell about one container.
func merge(c, runtime Container) Container {
	c.PID, c.started = runtime.PID, runtime.started
	c.ID = cmp.Or(runtime.ID, c.ID)
	c.Name = cmp.Or(runtime.Name, c.Name) // only root writes the runtime's files
	c.Engine = cmp.Or(c.Engine, runtime.Engine)
	if c.Annotations == nil {
		c.Annotations = runtime.Annotations
	}
	if c.Pod == (annotation.Pod{}) {
		c.Pod = runtime.Pod
	}
	c.Sandbox = c.Sandbox || runtime.Sandbox
	return c
}

// groups returns the processes of each container, its first process first, as far as cgroups
// and parents tell.
func (h Host) groups(all []process, byPID map[int]process) (groups [][]process) {
	own := h.namespace(h.Self, "mnt")
	at := map[string]int{}
	for _, p := range all {
		if p.mounts != "" && p.mounts == own || p.isMonitor {
			continue
		}
		id, engine := p.identity(byPID)
		if id == "" || isMonitorsCgroup(p.cgroup, id) {
			continue
		}
		key := engine + "/" + id
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	// A user can name a cgroup like a container's, but cannot make one below an engine's
	// monitor. So processes below a monitor come first.
	rank := func(p process) int {
		if m, ok := p.monitor(byPID); ok && h.owned(m.pid) {
			return 0
		}
		return 1
	}
	for _, group := range groups {
		slices.SortFunc(group, func(a, b process) int {
			return cmp.Or(rank(a)-rank(b), cmp.Compare(a.started, b.started), a.pid-b.pid)
		})
	}
	return groups
}

// OfProcess returns the container of the process. It also works while a hook runs. ok is false
// if no container can be identified.
func (h Host) OfProcess(pid int) (c Container, ok bool) {
	byPID := map[int]process{}
	p, ok := h.process(pid)
	if !ok {
		return Container{}, false
	}
	for at := p; ; {
		byPID[at.pid] = at
		parent, ok := h.process(at.parent)
		if !ok || len(byPID) > maxAncestors {
			break
		}
		at = parent
	}
	if id, _ := p.identity(byPID); id == "" {
		return Container{}, false
	}
	return h.describe(p, byPID), true
}

// describe returns the container of a process that is in one.
func (h Host) describe(p process, byPID map[int]process) Container {
	id, engine := p.identity(byPID)
	c := Container{ID: id, Engine: engine, PID: p.pid, started: p.started}
	if engine == lxc || engine == nspawn {
		c.Name = id
	}
	m, ok := p.monitor(byPID)
	if !ok {
		return c
	}
	if m.shim && m.bundles != "" {
		m.bundle = filepath.Join(m.bundles, id)
	}
	switch {
	case m.engine == lxc || m.engine == nspawn: // LXC names a cgroup differently if an old one was left
		c.ID, c.Name, c.Engine = m.id, m.name, m.engine
	case !m.shim && m.id == id:
		c.Name = cmp.Or(m.name, c.Name)
	}
	if m.bundle != "" && h.owned(m.pid) {
		h.readBundle(&c, m.bundle)
	}
	return c
}

// Looked is where List looked for containers.
type Looked struct {
	// Processes is the number of processes, and Dirs are the existing directories of runtimes
	// and engines.
	Processes int
	Dirs      []string
}

func (l Looked) words() string {
	words := "the cgroups and parents of " + strconv.Itoa(l.Processes) + " processes"
	for i, dir := range l.Dirs {
		separator := ", "
		if i == len(l.Dirs)-1 {
			separator = " and "
		}
		words += separator + dir
	}
	return words
}
