package target

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/pidfd"
)

// A container ends with its first process. If it has its own PID namespace, that is
// process 1 there. If not, as with --pid=host or in a pod whose containers share a PID
// namespace, it is the process that started first in the container's mount namespace.

// process is a process that /proc shows.
type process struct {
	pid            int
	pidNS, mountNS uint64
	init           bool // the first one of its PID namespace
}

// processOf returns that process. The error is ESRCH if it has ended.
func processOf(pid int) (p process, err error) {
	name := strconv.Itoa(pid)
	p.pid = pid
	p.pidNS, err = Namespace(name, "pid")
	if err == nil {
		p.mountNS, err = Namespace(name, "mnt")
	}
	var status []byte
	if err == nil {
		status, err = os.ReadFile("/proc/" + name + "/status")
	}
	if errors.Is(err, os.ErrNotExist) {
		err = unix.ESRCH
	}
	p.init = err == nil && InnermostPID(string(status)) == 1
	return p, err // EACCES: it is another user's
}

// processes lists the processes whose namespaces this process may see.
func processes() ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var list []process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p, err := processOf(pid); err == nil { // otherwise it has ended or is a kernel thread
			list = append(list, p)
		}
	}
	return list, nil
}

// firstProcesses returns the first process of every container and of the host, by the
// number of its mount namespace. A service in a container can have its own mount namespace
// with the container's root directory: that is not another container.
func firstProcesses(list []process, ownPIDs uint64) map[uint64]process {
	first, inits := map[uint64]process{}, map[uint64]process{}
	for _, p := range list {
		p.init = p.init && p.pidNS != ownPIDs
		if p.init {
			inits[p.pidNS] = p
		}
		if old, ok := first[p.mountNS]; !ok || p.before(old) {
			first[p.mountNS] = p
		}
	}
	for ns, p := range first {
		if init, ok := inits[p.pidNS]; ok && !p.init && init.sameRoot(p) {
			delete(first, ns)
		}
	}
	return first
}

// Containers returns the first processes of all containers, as far as this
// process can see them.
func Containers() (pids []int, err error) {
	ownPIDs, err := Namespace("self", "pid")
	if err != nil {
		return nil, err
	}
	ownMounts, err := Namespace("self", "mnt")
	if err != nil {
		return nil, err
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	for ns, p := range firstProcesses(all, ownPIDs) {
		if ns != ownMounts {
			pids = append(pids, p.pid)
		}
	}
	return pids, nil
}

// before returns whether this process, and not the other one, is the first of the mount
// namespace that both are in. A process of another PID namespace has only entered it.
func (p process) before(other process) bool {
	if p.init != other.init {
		return p.init
	}
	return startsBefore(p.pid, other.pid)
}

// startsBefore returns whether the process started before the other one. Process IDs only
// decide within one clock tick.
func startsBefore(pid, other int) bool {
	a, aerr := startTicks(pid)
	b, berr := startTicks(other)
	if aerr != nil || berr != nil {
		return aerr == nil && berr != nil
	}
	return a < b || a == b && pid < other
}

func startTicks(pid int) (uint64, error) {
	text, err := pidfd.StartTime(pid)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// sameRoot returns whether both have the same root directory.
func (p process) sameRoot(other process) bool {
	a, aerr := os.Stat("/proc/" + strconv.Itoa(p.pid) + "/root/.")
	b, berr := os.Stat("/proc/" + strconv.Itoa(other.pid) + "/root/.")
	return aerr == nil && berr == nil && os.SameFile(a, b)
}

// firstOf returns the first process of the container in which the process runs; the
// process itself if it is in this program's own mount namespace.
func firstOf(pid int) (process, error) {
	p, err := processOf(pid)
	if err != nil {
		return p, err
	}
	ownMounts, err := Namespace("self", "mnt")
	if err != nil || ownMounts == p.mountNS {
		return p, err
	}
	ownPIDs, err := Namespace("self", "pid")
	if err != nil || p.init && p.pidNS != ownPIDs {
		return p, err
	}
	list, err := processes()
	if err != nil {
		return p, err
	}
	first := firstProcesses(list, ownPIDs)
	if found, ok := first[p.mountNS]; ok {
		return found, nil
	}
	for _, found := range first { // the container whose service this is
		if found.init && found.pidNS == p.pidNS && found.sameRoot(p) {
			return found, nil
		}
	}
	return p, unix.ESRCH
}
