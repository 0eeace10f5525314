// Package target owns the target: the container, or the host, that is inspected and
// repaired. It holds the target's root directory, first process and namespaces.
package target

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/handover"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
)

// Trusts says whether what the record says of /dev/log may be put there, with
// this process's rights and for everybody who shares it. Whoever made the
// container's root directory may have forged it, but cannot know the number of
// the namespace that the container will run in; what runs inside has no other
// rights than the container.
func (t *Target) Trusts(r *changes.Changes) bool {
	return t.Inside || r.MountNS == t.MountNS
}

// lockTimeout is how long a repair waits for another one of the same container,
// which takes milliseconds.
const lockTimeout = 5 * time.Second

// Lock keeps other repairs of the same container out until the function that
// it returns is called. Any user in the container can hold the lock, so it is
// not waited for without end: each step is safe without it, but two receivers
// may be started.
func (t *Target) Lock() (unlock func()) {
	unlock, err := t.Root.Lock(lockTimeout)
	if err != nil {
		return func() {}
	}
	return unlock
}

// Target is the container that is looked at or repaired.
type Target struct {
	Root *rootfs.Root
	// Init is a pidfd of a process whose end is the container's, or nil: not
	// known, or this process lives and dies with the container itself.
	Init *os.File
	// Inside says that this process is in the container's namespaces and root.
	Inside bool
	// Entered says that it is in the container's namespaces and still in the
	// host's root.
	Entered bool
	// Host says that this is no container but the host.
	Host bool
	// Pid is that process, 0 if not known; this one in a container. It is a
	// number of the PID namespace that /proc shows.
	Pid int
	// MountNSFile is the container's mount namespace; nil if that is not known, or this
	// process's own.
	MountNSFile *os.File
	// mountNS and pidNS tell the container's namespaces from others; 0 if not
	// known.
	MountNS, PIDNS uint64
	// uid and gid are what the container's root is outside of its user
	// namespace.
	UID, GID int
	// Confined says that this process is in its receiver's sandbox, from which
	// other processes' namespaces and open files are not seen.
	Confined bool
	// Watcher is the receiver that runs this program, 0 if none does: its open files
	// are not to be seen from its sandbox.
	Watcher int
	// Denied is why a mount was denied to this process although it has the
	// capability: by AppArmor, SELinux or a seccomp filter.
	Denied error
}

// Close releases the target's handles.
func (t *Target) Close() {
	t.Root.Close()
	for _, f := range []*os.File{t.Init, t.MountNSFile} {
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
	t := &Target{Root: r, Inside: true, Pid: os.Getpid()}
	t.PIDNS, err = Namespace("self", "pid")
	if err == nil {
		t.MountNS, err = Namespace("self", "mnt")
	}
	if first, ferr := Namespace("1", "mnt"); err == nil && ferr == nil && t.PIDNS != InitPIDNamespace {
		// A service may have a mount namespace of its own and is still of this
		// container.
		t.MountNS = first
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
		t.Host = true
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
	return &Target{Root: r}, nil
}

// OfProcess is the container in which the process runs. It lives as long as its
// first process, whichever of its processes was named.
func OfProcess(pid int) (*Target, error) {
	t, err := ofNamed(pid)
	if err != nil {
		return nil, err
	}
	if own, err := Namespace("self", "mnt"); err != nil || own == t.MountNS {
		t.Close()
		if err == nil {
			err = &plan.Refusal{Reason: fmt.Sprintf("process %d is in the same mount namespace as this program", pid),
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
	if t.MountNS != first.mountNS || t.PIDNS != first.pidNS || Ended(named) {
		t.Close()
		return nil, fmt.Errorf("find process %d: %w", pid, unix.ESRCH)
	}
	return t, nil
}

// Lives says whether somebody can stay to keep the repair: one who sees the
// end of the target, and finds this program where it is when it is needed.
func (t *Target) Lives() bool {
	if t.Inside {
		return t.Init == nil
	}
	return t.Init != nil && !t.Entered
}

// ReceiverInside says that the target's receiver lives in its namespaces, and
// the paths of its rules are the container's.
func (t *Target) ReceiverInside() bool { return t.Inside || t.Entered }

// OfReceiver is the container, or with host the host, of which a receiver keeps
// the repair: it passes the root it has held since, and the pidfd if it is not
// in the container. identity is what Identity said of it then, or empty;
// confined says that this process is in the receiver's sandbox.
func OfReceiver(files []handover.File, host bool, identity string, confined bool) (*Target, error) {
	var root, init *os.File
	keeper := 0
	for _, f := range files {
		switch f.Name {
		case handover.NameRoot:
			root = os.NewFile(uintptr(f.FD), f.Name)
		case handover.NameInit:
			init = os.NewFile(uintptr(f.FD), f.Name)
		case handover.NameReceiver:
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
	if t.Root != nil {
		t.Root.Close()
	}
	t.Root, t.Host, t.Confined, t.Watcher = held, host, confined, keeper
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
	t := &Target{Init: init, Pid: pid}
	if n, err := fmt.Sscanf(identity, identityFormat, &t.MountNS, &t.PIDNS, &t.UID, &t.GID); err != nil || n != 4 {
		return nil, fmt.Errorf("find the container: bad identity %q: %w", identity, err)
	}
	return t, nil
}

// identityFormat is the container's mount and PID namespace, and who its root is.
const identityFormat = "%d:%d:%d:%d"

// Identity is what OfReceiver takes: what could not be seen of the container from
// inside its receiver's sandbox.
func (t *Target) Identity() string {
	return fmt.Sprintf(identityFormat, t.MountNS, t.PIDNS, t.UID, t.GID)
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
	t = &Target{Init: handle, Pid: pid}
	if t.Root, err = rootfs.Open(proc + "/root"); err != nil {
		handle.Close()
		return nil, err
	}
	if t.MountNSFile, err = os.Open(proc + "/ns/mnt"); err == nil {
		t.MountNS, err = Namespace(strconv.Itoa(pid), "mnt")
	}
	if err == nil {
		t.PIDNS, err = Namespace(strconv.Itoa(pid), "pid")
	}
	if err == nil {
		err = t.mapRoot(proc)
	}
	if err == nil && Ended(handle) {
		err = unix.ESRCH
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Mounts is where things are mounted for the target.
func (t *Target) Mounts() rootfs.Mounts { return rootfs.Mounts{Namespace: t.MountNSFile} }

// MayMount says whether this process may mount in the target: it needs
// CAP_SYS_ADMIN (capabilities(7)), and a namespace that is the target's.
func (t *Target) MayMount() bool {
	if t.Host || t.MountNS == 0 || t.Confined || t.Denied != nil {
		return false
	}
	return Capable(unix.CAP_SYS_ADMIN)
}

// MayPrepare says whether this process may prepare the host for the target: it has
// the host's root directory, and is in no receiver's sandbox.
func (t *Target) MayPrepare() bool { return !t.Inside && !t.Confined && t.UID == 0 }
