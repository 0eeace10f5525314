package devlog

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/pidfd"
	"devlog/internal/rootfs"
)

// Target is the container that is looked at or repaired.
type Target struct {
	root *rootfs.Root
	// init is a pidfd of a process whose end is the container's, or nil: not
	// known, or this process lives and dies with the container itself.
	init *os.File
	// inside says that this process is in the container's namespaces and root.
	inside bool
	// entered says that it is in the container's namespaces and still in the
	// host's root.
	entered bool
	// host says that this is no container but the host.
	host bool
	// pid is that process, 0 if not known; this one in a container. It is a
	// number of the PID namespace that /proc shows.
	pid int
	// ns is the container's mount namespace; nil if that is not known, or this
	// process's own.
	ns *os.File
	// mountNS and pidNS tell the container's namespaces from others; 0 if not
	// known.
	mountNS, pidNS uint64
	// uid and gid are what the container's root is outside of its user
	// namespace.
	uid, gid int
	// confined says that this process is in its receiver's sandbox, from which
	// other processes' namespaces and open files are not seen.
	confined bool
	// keeper is the receiver that runs this program, 0 if none does: its open files
	// are not to be seen from its sandbox.
	keeper int
	// denied is why a mount was denied to this process although it has the
	// capability: by AppArmor, SELinux or a seccomp filter.
	denied error
}

// Close releases the target's handles.
func (t *Target) Close() {
	t.root.Close()
	for _, f := range []*os.File{t.init, t.ns} {
		if f != nil {
			f.Close()
		}
	}
}

// Inside is the root that this process is in.
func Inside() (*Target, error) {
	r, err := rootfs.Open("/")
	if err != nil {
		return nil, err
	}
	t := &Target{root: r, inside: true, pid: os.Getpid()}
	t.pidNS, err = namespace("self", "pid")
	if err == nil {
		t.mountNS, err = namespace("self", "mnt")
	}
	if first, ferr := namespace("1", "mnt"); err == nil && ferr == nil && t.pidNS != initPIDNamespace {
		// A service may have a mount namespace of its own and is still of this
		// container.
		t.mountNS = first
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return t, nil
}

// Host is the host itself, in whose root this process is.
func Host() (*Target, error) {
	t, err := Inside()
	if err == nil {
		t.host = true
	}
	return t, err
}

// AtRoot is the container with this root directory, of which nothing else is
// known.
func AtRoot(dir string) (*Target, error) {
	r, err := rootfs.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Target{root: r}, nil
}

// OfProcess is the container in which the process runs. It lives as long as its
// first process, whichever of its processes was named.
func OfProcess(pid int) (*Target, error) {
	t, err := ofNamed(pid)
	if err != nil {
		return nil, err
	}
	if own, err := namespace("self", "mnt"); err != nil || own == t.mountNS {
		t.Close()
		if err == nil {
			err = &Refusal{Reason: fmt.Sprintf("process %d is in the same mount namespace as this program", pid),
				Advice: "leave out --pid"}
		}
		return nil, err
	}
	return t, nil
}

// ofNamed is OfProcess for any mount namespace. The process is pinned until the
// first one of its container is: either could end, and its ID be another's.
func ofNamed(pid int) (*Target, error) {
	named, err := pidfd.Open(pid)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", pid, err)
	}
	first, err := firstOf(pid)
	if err == nil && first.pid == pid {
		return ofProcess(pid, named)
	}
	defer named.Close()
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", pid, err)
	}
	t, err := ofProcess(first.pid, nil)
	if err != nil {
		return nil, err
	}
	if t.mountNS != first.mountNS || t.pidNS != first.pidNS || ended(named) {
		t.Close()
		return nil, fmt.Errorf("find process %d: %w", pid, unix.ESRCH)
	}
	return t, nil
}

// lives says whether somebody can stay to keep the repair: one who sees the
// end of the target, and finds this program where it is when it is needed.
func (t *Target) lives() bool {
	if t.inside {
		return t.init == nil
	}
	return t.init != nil && !t.entered
}

// receiverInside says that the target's receiver lives in its namespaces, and
// the paths of its rules are the container's.
func (t *Target) receiverInside() bool { return t.inside || t.entered }

// OfReceiver is the container, or with host the host, of which a receiver keeps
// the repair: it passes the root it has held since, and the pidfd if it is not
// in the container. identity is what Identity said of it then, or empty;
// confined says that this process is in the receiver's sandbox.
func OfReceiver(files []daemon.File, host bool, identity string, confined bool) (*Target, error) {
	var root, init *os.File
	keeper := 0
	for _, f := range files {
		switch f.Name {
		case daemon.NameRoot:
			root = os.NewFile(uintptr(f.FD), f.Name)
		case daemon.NameInit:
			init = os.NewFile(uintptr(f.FD), f.Name)
		case daemon.NameReceiver:
			if peer, err := unix.GetsockoptUcred(f.FD, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				keeper = int(peer.Pid)
			}
		}
	}
	if root == nil {
		return nil, errors.New("find the container: a receiver passes its root, and none was passed")
	}
	held := rootfs.FromHandle(root)
	t, err := ofReceiver(init, identity, confined)
	if err != nil {
		held.Close()
		return nil, fmt.Errorf("find the container of a receiver: %w", err)
	}
	if t.root != nil {
		t.root.Close()
	}
	t.root, t.host, t.confined, t.keeper = held, host, confined, keeper
	return t, nil
}

// ofReceiver is OfReceiver but for the root.
func ofReceiver(init *os.File, identity string, confined bool) (*Target, error) {
	if init == nil {
		return Inside()
	}
	pid, err := pidfd.PID(int(init.Fd()))
	if err != nil {
		return nil, err
	}
	if identity == "" || !confined {
		return ofProcess(pid, init)
	}
	t := &Target{init: init, pid: pid}
	if n, err := fmt.Sscanf(identity, identityFormat, &t.mountNS, &t.pidNS, &t.uid, &t.gid); err != nil || n != 4 {
		return nil, fmt.Errorf("find the container: bad identity %q: %w", identity, err)
	}
	return t, nil
}

// identityFormat is the container's mount and PID namespace, and who its root is.
const identityFormat = "%d:%d:%d:%d"

// Identity is what OfReceiver takes: what could not be seen of the container from
// inside its receiver's sandbox.
func (t *Target) Identity() string {
	return fmt.Sprintf(identityFormat, t.mountNS, t.pidNS, t.uid, t.gid)
}

// shownPID is the number that /proc has for a process: it may show another PID
// namespace than this process's.
func shownPID(pid int) (int, error) {
	handle, err := pidfd.Open(pid)
	if err != nil {
		return 0, err
	}
	defer handle.Close()
	return pidfd.PID(int(handle.Fd()))
}

// ofProcess pins the process first, so that nothing is ever read of another
// that got the same process ID.
func ofProcess(pid int, handle *os.File) (t *Target, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("find process %d: %w", pid, err)
		}
	}()
	if handle == nil {
		if handle, err = pidfd.Open(pid); err != nil {
			return nil, err
		}
	}
	proc := "/proc/" + strconv.Itoa(pid)
	t = &Target{init: handle, pid: pid}
	if t.root, err = rootfs.Open(proc + "/root"); err != nil {
		handle.Close()
		return nil, err
	}
	if t.ns, err = os.Open(proc + "/ns/mnt"); err == nil {
		t.mountNS, err = namespace(strconv.Itoa(pid), "mnt")
	}
	if err == nil {
		t.pidNS, err = namespace(strconv.Itoa(pid), "pid")
	}
	if err == nil {
		err = t.mapRoot(proc)
	}
	if err == nil && ended(handle) {
		err = unix.ESRCH
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// mapRoot finds out who the container's root is. In a user namespace that is
// this process's own too, as with an engine without root, it is who it is here;
// the files there tell of the namespace above.
func (t *Target) mapRoot(proc string) error {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(proc + "/ns/user")
	if err != nil || own == theirs {
		return err
	}
	if t.uid, err = mappedRoot(proc + "/uid_map"); err != nil {
		return err
	}
	t.gid, err = mappedRoot(proc + "/gid_map")
	return err
}

// mappedRoot is what ID 0 of a user namespace is outside, as the file says
// (user_namespaces(7), "User and group ID mappings"). Where 0 is not mapped it
// is 0: no file can belong to it anyway.
func mappedRoot(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, length uint32 // the length of all IDs does not fit in an int of 32 bits
		if n, err := fmt.Sscan(line, &inside, &outside, &length); err != nil || n != 3 {
			return 0, fmt.Errorf("read %s: unexpected line %q", file, line)
		}
		if inside == 0 {
			return int(outside), nil
		}
	}
	return 0, nil
}

// ended says whether the process has ended that this is a handle of.
func ended(handle *os.File) bool { return pidfd.Ended(int(handle.Fd())) }

// namespace is the number that tells a process's namespace from others.
func namespace(pid, kind string) (uint64, error) {
	st, err := os.Stat("/proc/" + pid + "/ns/" + kind)
	if err != nil {
		return 0, fmt.Errorf("find a namespace: %w", err)
	}
	return st.Sys().(*syscall.Stat_t).Ino, nil
}

// mounts is where things are mounted for the target.
func (t *Target) mounts() rootfs.Mounts { return rootfs.Mounts{Namespace: t.ns} }

// mayMount says whether this process may mount in the target: it needs
// CAP_SYS_ADMIN (capabilities(7)), and a namespace that is the target's.
func (t *Target) mayMount() bool {
	if t.host || t.mountNS == 0 || t.confined || t.denied != nil {
		return false
	}
	return capable(unix.CAP_SYS_ADMIN)
}

// capable says whether this process has the capability (capabilities(7)).
func capable(capability int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<capability) != 0
}

// mayPrepare says whether this process may prepare the host for the target: it has
// the host's root directory, and is in no receiver's sandbox.
func (t *Target) mayPrepare() bool { return !t.inside && !t.confined && t.uid == 0 }

// Refusal is an error that says that nothing was done because it would not be
// safe, and what to do instead.
type Refusal struct {
	Reason, Advice string
}

func (r *Refusal) Error() string { return "refused: " + r.Reason + "; " + r.Advice }
