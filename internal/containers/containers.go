// Package containers owns the containers of a host: what their engines call them, and
// which processes they are. It reads /proc and the engines' own files, and talks to no
// engine.
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
	// ID is what the runtime calls it, and Name what people do; Name is empty where it
	// is not known. For LXC and systemd-nspawn they are the same.
	ID, Name string
	// Engine is the program that people start it with, such as podman; empty if that is
	// not known.
	Engine string
	// PID is its first process, or the one that has run for the longest time.
	PID int
	// Pod is what Kubernetes calls it; zero outside Kubernetes.
	Pod annotation.Pod

	// Sandbox says that it only holds a pod's namespaces.
	Sandbox bool
	// started tells the process from a later one with the same ID.
	started uint64
}

// Called is the name that people know it by: NAMESPACE_POD_CONTAINER in Kubernetes,
// else its name; empty if it has none.
func (c Container) Called() string {
	return cmp.Or(c.Pod.String(), c.Name)
}

// Host is where containers are looked for.
type Host struct {
	// Root is the host's root directory: "/", or a test's.
	Root string
	// Self is this process's directory in /proc.
	Self string
}

// This is the host that this process is on.
func This() Host { return Host{Root: "/", Self: "self"} }

func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

// List returns the running containers, and where it looked for them. What cannot be read
// is ignored: containers come and go, and a user does not see those of others.
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
		for _, p := range group { // its runtime knows which one is the first
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

// Runs says whether the container's process is still the one that was found, and not
// a later one with the same ID.
func (h Host) Runs(c Container) bool {
	p, ok := h.process(c.PID)
	return ok && p.started == c.started
}

// merge returns what is known of one container from its processes and from its runtime.
func merge(c, runtime Container) Container {
	c.PID, c.started = runtime.PID, runtime.started
	c.ID = cmp.Or(runtime.ID, c.ID)
	c.Name = cmp.Or(runtime.Name, c.Name) // only root writes a runtime's files
	c.Engine = cmp.Or(c.Engine, runtime.Engine)
	if c.Pod == (annotation.Pod{}) {
		c.Pod = runtime.Pod
	}
	c.Sandbox = c.Sandbox || runtime.Sandbox
	return c
}

// groups returns the processes of each container together, the first one in front, as far
// as their cgroups and parents tell.
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
	// A user can make a cgroup that is called like a container's, but not one below
	// an engine's monitor: processes below one come first.
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

// OfProcess returns the container in which the process runs, as it is while a hook runs
// too; ok says whether it is one that can be told from others.
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
	case m.engine == lxc || m.engine == nspawn: // LXC gives a cgroup another name if an old one was left
		c.ID, c.Name, c.Engine = m.id, m.name, m.engine
	case !m.shim && m.id == id:
		c.Name = cmp.Or(m.name, c.Name)
	}
	if m.bundle != "" && h.owned(m.pid) {
		h.readBundle(&c, m.bundle)
	}
	return c
}

// Looked is where containers were looked for.
type Looked struct {
	// Processes is how many processes there are, and Dirs are the directories of
	// runtimes and engines that exist.
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
