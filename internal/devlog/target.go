package devlog

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"devlog/internal/hook"
	"devlog/internal/rootfs"
)

// Target is the container that is looked at or repaired.
type Target struct {
	root *rootfs.Root
	// pidfd of the container's first process, or nil: not known, or this
	// process lives and dies with the container itself.
	init *os.File
	// inside says that this process is in the container's namespaces.
	inside bool
	// pid is the process that was named, 0 for none.
	pid int
}

// Close releases the target's handles.
func (t *Target) Close() {
	t.root.Close()
	if t.init != nil {
		t.init.Close()
	}
}

// Inside is the root that this process is in.
func Inside() (*Target, error) {
	r, err := rootfs.Open("/")
	if err != nil {
		return nil, err
	}
	return &Target{root: r, inside: true}, nil
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

// OfProcess is the container in which the process runs.
func OfProcess(pid int) (*Target, error) {
	same, err := sameNamespace(pid)
	if err != nil {
		return nil, err
	}
	if same {
		return nil, &Refusal{Reason: fmt.Sprintf("process %d is in the same mount namespace as this program", pid),
			Advice: "leave out --pid"}
	}
	return ofProcess(pid)
}

// OfContainer is the container for which an OCI runtime runs a hook, before
// pivot_root(2): its root is still a directory below its first process's root.
func OfContainer(c hook.Container) (*Target, error) {
	t, err := ofProcess(c.PID)
	if err != nil {
		return nil, err
	}
	host := t.root
	defer host.Close()
	if t.root, err = host.Sub(c.Rootfs); err != nil {
		t.init.Close()
		return nil, fmt.Errorf("find the container's root: %w", err)
	}
	return t, nil
}

// ofProcess pins the process first, so that the root is never another's that
// got the same process ID.
func ofProcess(pid int) (*Target, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", pid, err)
	}
	init := os.NewFile(uintptr(fd), "pidfd")
	r, err := rootfs.Open("/proc/" + strconv.Itoa(pid) + "/root")
	if err == nil && ended(fd) {
		r.Close()
		err = unix.ESRCH
	}
	if err != nil {
		init.Close()
		return nil, fmt.Errorf("find process %d: %w", pid, err)
	}
	return &Target{root: r, init: init, pid: pid}, nil
}

// ended says whether the pidfd's process has ended.
func ended(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

func sameNamespace(pid int) (bool, error) {
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
	if errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("find process %d: %w", pid, unix.ESRCH)
	}
	if err != nil {
		return false, fmt.Errorf("find process %d: %w", pid, err)
	}
	ours, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		return false, fmt.Errorf("find this process's namespaces: %w", err)
	}
	return os.SameFile(theirs, ours), nil
}

// Refusal is an error that says that nothing was done because it would not be
// safe, and what to do instead.
type Refusal struct {
	Reason, Advice string
}

func (r *Refusal) Error() string { return "refused: " + r.Reason + "; " + r.Advice }
