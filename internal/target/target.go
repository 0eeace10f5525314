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

// Target is the container, or the host, that is inspected or repaired.
type Target struct {
	Root *rootfs.Root
	// Init is a pidfd of a process with which the container ends; nil if it is not
	// known, or if this process ends with the container too.
	Init *os.File
	// Inside says that this process is in the container's namespaces and root.
	Inside bool
	// Entered says that this process is in the container's namespaces but still in the
	// host's root, as at createContainer.
	Entered bool
	// Host says that this is the host, not a container.
	Host bool
	// PID is the ID that /proc shows for that process, or for this one inside a
	// container; 0 if it is not known.
	PID int
	// MountNSFile is a handle on the container's mount namespace; nil if it is not known
	// or is this process's own.
	MountNSFile *os.File
	// MountNS and PIDNS are the numbers of the container's namespaces; 0 if not known.
	MountNS, PIDNS uint64
	// UID and GID are the IDs of the container's root outside its user namespace.
	UID, GID int
	// Confined says that this process is in its receiver's sandbox, which hides other
	// processes' namespaces and open files.
	Confined bool
	// Watcher is the process ID of the receiver that runs this program; 0 for none. Its
	// open files cannot be seen from its sandbox.
	Watcher int
	// Denied is why AppArmor, SELinux or a seccomp filter denied a mount although this
	// process has the capability.
	Denied error
}

// lockTimeout is how long a repair waits for another repair of the same container, which
// takes milliseconds.
const lockTimeout = 5 * time.Second

// Lock keeps other repairs of the same container out until unlock is called. Any user in
// the container can hold the lock, so after lockTimeout the caller continues without it:
// each step is safe, but two receivers may start.
func (t *Target) Lock() (unlock func()) {
	unlock, err := t.Root.Lock(lockTimeout)
	if err != nil {
		return func() {}
	}
	return unlock
}

// Trusts returns whether /dev/log may be restored to what the record says, with this
// process's privileges and for all who share it. Whoever made the container's root
// directory can have forged a record, but cannot know the number of the namespace in
// which the container will run. A process inside has only the container's privileges.
func (t *Target) Trusts(r *changes.Changes) bool {
	return t.Inside || r.MountNS == t.MountNS
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

// Inside returns the container or host that this process runs in.
func Inside() (*Target, error) {
	r, err := rootfs.Open("/")
	if err != nil {
		return nil, err
	}
	t := &Target{Root: r, Inside: true, PID: os.Getpid()}
	t.PIDNS, err = Namespace("self", "pid")
	if err == nil {
		t.MountNS, err = Namespace("self", "mnt")
	}
	if first, ferr := Namespace("1", "mnt"); err == nil && ferr == nil && t.PIDNS != InitPIDNamespace {
		// A service can have its own mount namespace and still belongs to this container.
		t.MountNS = first
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return t, nil
}

// Host returns the host. This process must be in its root.
func Host() (*Target, error) {
	t, err := Inside()
	if err == nil {
		t.Host = true
	}
	return t, err
}

// AtRoot returns the container with this root directory. Nothing else of it is known.
func AtRoot(dir string) (*Target, error) {
	r, err := rootfs.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Target{Root: r}, nil
}

// OfProcess returns the container in which the process runs. The container ends with its
// first process, which need not be this one. The error is ESRCH if the process has ended,
// and a *plan.Refusal if it is in this program's mount namespace.
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

// ofNamed is OfProcess for any mount namespace. The process is held until the first
// process of its container is: either could end, and another one could get its ID.
func ofNamed(pid int) (*Target, error) {
	named, err := pidfd.Open(pid)
	if err != nil {
		return nil, fmt.Errorf("cannot find process %d: %w", pid, err)
	}
	first, err := firstOf(pid)
	if err == nil && first.pid == pid {
		return ofProcess(pid, named)
	}
	defer named.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot find process %d: %w", pid, err)
	}
	t, err := ofProcess(first.pid, nil)
	if err != nil {
		return nil, err
	}
	if t.MountNS != first.mountNS || t.PIDNS != first.pidNS || Ended(named) {
		t.Close()
		return nil, fmt.Errorf("cannot find process %d: %w", pid, unix.ESRCH)
	}
	return t, nil
}

// Lives returns whether a watcher can stay: it must see the end of the target and find this
// program when it has to run it.
func (t *Target) Lives() bool {
	if t.Inside {
		return t.Init == nil
	}
	return t.Init != nil && !t.Entered
}

// ReceiverInside returns whether the receiver runs in the target's namespaces, and that the
// paths in its rules are the container's.
func (t *Target) ReceiverInside() bool { return t.Inside || t.Entered }

// OfReceiver returns the container, or with host the host, whose receiver runs this
// program to repair again. The receiver passes the root that it holds and, if it is not in
// the container, the pidfd. identity is what Identity returned at its start, or empty;
// confined says that this process is in the receiver's sandbox.
func OfReceiver(files []handover.File, host bool, identity string, confined bool) (*Target, error) {
	var root, init *os.File
	watcher := 0
	for _, f := range files {
		switch f.Name {
		case handover.NameRoot:
			root = os.NewFile(uintptr(f.FD), f.Name)
		case handover.NameInit:
			init = os.NewFile(uintptr(f.FD), f.Name)
		case handover.NameReceiver:
			if peer, err := unix.GetsockoptUcred(f.FD, unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				watcher = int(peer.Pid)
			}
		}
	}
	if root == nil {
		return nil, errors.New("cannot find the container: a receiver passes its root, and none was passed")
	}
	held := rootfs.FromHandle(root)
	t, err := ofReceiver(init, identity, confined)
	if err != nil {
		held.Close()
		return nil, fmt.Errorf("cannot find the container of a receiver: %w", err)
	}
	if t.Root != nil {
		t.Root.Close()
	}
	t.Root, t.Host, t.Confined, t.Watcher = held, host, confined, watcher
	return t, nil
}

// ofReceiver is OfReceiver without the root.
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
	t := &Target{Init: init, PID: pid}
	if n, err := fmt.Sscanf(identity, identityFormat, &t.MountNS, &t.PIDNS, &t.UID, &t.GID); err != nil || n != 4 {
		return nil, fmt.Errorf("cannot find the container: bad identity %q: %w", identity, err)
	}
	return t, nil
}

// identityFormat has the container's mount and PID namespace, and its root's user and
// group.
const identityFormat = "%d:%d:%d:%d"

// Identity returns what OfReceiver needs: what the receiver's sandbox would hide.
func (t *Target) Identity() string {
	return fmt.Sprintf(identityFormat, t.MountNS, t.PIDNS, t.UID, t.GID)
}

// ofProcess holds the process first, so that nothing is read from a later process with
// the same ID.
func ofProcess(pid int, handle *os.File) (t *Target, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot find process %d: %w", pid, err)
		}
	}()
	if handle == nil {
		if handle, err = pidfd.Open(pid); err != nil {
			return nil, err
		}
	}
	proc := "/proc/" + strconv.Itoa(pid)
	t = &Target{Init: handle, PID: pid}
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

// Mounts returns the namespace in which a repair mounts for the target.
func (t *Target) Mounts() rootfs.Mounts { return rootfs.Mounts{Namespace: t.MountNSFile} }

// MayMount returns whether this process may mount in the target: it needs CAP_SYS_ADMIN
// (capabilities(7)) and a mount namespace that is the target's.
func (t *Target) MayMount() bool {
	if t.Host || t.MountNS == 0 || t.Confined || t.Denied != nil {
		return false
	}
	return Capable(unix.CAP_SYS_ADMIN)
}

// MayPrepare returns whether this process may prepare the host for the target: it is in the
// host's root directory and not in a receiver's sandbox.
func (t *Target) MayPrepare() bool { return !t.Inside && !t.Confined && t.UID == 0 }
