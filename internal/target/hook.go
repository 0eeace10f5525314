package target

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"devlog/internal/hook"
	"devlog/internal/pidfd"
	"devlog/internal/plan"
	"devlog/internal/rootfs"
)

// OfHook returns the container for which an OCI runtime runs a hook of that stage. At
// poststop the container is gone; see undo.Clear.
func OfHook(stage hook.Stage, c hook.Container) (*Target, error) {
	if err := CheckStage(stage, c); err != nil {
		return nil, err
	}
	switch stage {
	case hook.Prestart, hook.CreateRuntime:
		return ofContainer(c)
	case hook.CreateContainer:
		return enteredContainer(c)
	case hook.StartContainer:
		return startingContainer()
	case hook.Poststart:
		return OfProcess(c.PID)
	}
	return nil, fmt.Errorf("cannot find the container at %s: %w", stage, errors.ErrUnsupported)
}

// CheckStage returns a *plan.Refusal if the runtime called the hook at another stage: the
// hook would mistake the host for its container.
func CheckStage(stage hook.Stage, c hook.Container) error {
	if self, err := os.Readlink("/proc/self"); err == nil && self != strconv.Itoa(os.Getpid()) && stage != hook.CreateContainer {
		return &plan.Refusal{Reason: "this hook is in the container's PID namespace, but /proc is another's, as at createContainer",
			Advice: "use --stage createContainer"}
	}
	switch {
	case stage == hook.StartContainer && isOutside(c.PID):
		return &plan.Refusal{Reason: fmt.Sprintf("this hook runs outside the container, whose first process is %d", c.PID),
			Advice: "use the --stage at which the runtime calls it: prestart, createRuntime or poststart"}
	case stage == hook.Poststart && !hasPivoted(c):
		return &plan.Refusal{Reason: "the root of the container's first process is still the host's", Advice: "use --stage createRuntime"}
	}
	return nil
}

// isOutside returns whether a startContainer hook is not in the container. pid is the first
// process as the runtime reports it: 0 or, if the container has its own PID namespace, a
// number of the host's.
func isOutside(pid int) bool {
	if pid == 0 {
		return false
	}
	if parent := os.Getppid(); parent != 1 && parent != pid {
		return true
	}
	own, err := Namespace("self", "mnt")
	first, ferr := Namespace(strconv.Itoa(pid), "mnt")
	return err == nil && ferr == nil && first != own
}

// hasPivoted returns whether the root of the container's first process is not the host's,
// unless the container is configured to have the host's.
func hasPivoted(c hook.Container) bool {
	host, err := os.Stat("/")
	root, rerr := os.Stat("/proc/" + strconv.Itoa(c.PID) + "/root/.")
	rootfs, ferr := os.Stat(c.Rootfs)
	return err != nil || rerr != nil || !os.SameFile(host, root) || ferr == nil && os.SameFile(host, rootfs)
}

// ofContainer returns the container as the runtime's namespaces show it before
// pivot_root(2): its root is still a directory below its first process's root.
func ofContainer(c hook.Container) (*Target, error) {
	t, err := ofProcess(c.PID, nil)
	if err != nil {
		return nil, err
	}
	host := t.Root
	defer host.Close()
	if t.Root, err = host.Sub(c.Rootfs); err != nil {
		t.Root = host
		t.Init.Close()
		t.MountNSFile.Close()
		return nil, fmt.Errorf("cannot find the container's root: %w", err)
	}
	return t, nil
}

// enteredContainer returns the container that this process is in before pivot_root(2): its
// root is a directory; "/" and /proc are still the host's.
func enteredContainer(c hook.Container) (*Target, error) {
	host, err := rootfs.Open("/")
	if err != nil {
		return nil, err
	}
	defer host.Close()
	t := &Target{Entered: true}
	if t.Root, err = host.Sub(c.Rootfs); err != nil {
		return nil, fmt.Errorf("cannot find the container's root: %w", err)
	}
	// The host's /proc has another number for this process than getpid(2).
	self, err := os.Readlink("/proc/self")
	if err == nil {
		t.PID, err = strconv.Atoi(self)
	}
	if err == nil {
		t.MountNS, err = Namespace("self", "mnt")
	}
	if err == nil {
		t.PIDNS, err = Namespace("self", "pid")
	}
	if err == nil {
		err = t.isEntered(host)
	}
	if err == nil {
		t.Init, err = parent()
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// isEntered returns a *plan.Refusal if this cannot be createContainer as specified.
func (t *Target) isEntered(host *rootfs.Root) error {
	const advice = "use --stage createRuntime"
	// In a user namespace process 1 is another user's: then this is not the host's either.
	if first, err := Namespace("1", "mnt"); err == nil && first == t.MountNS {
		return &plan.Refusal{Reason: "this hook runs in the host's mount namespace, not in the container's", Advice: advice}
	}
	same, err := host.Same(t.Root)
	if err == nil && same {
		err = &plan.Refusal{Reason: "the container's root is the host's", Advice: advice}
	}
	return err
}

// startingContainer returns the container that this process is in after pivot_root(2). If
// it has no PID namespace of its own, the receiver waits for the end of its first process
// and there is no watcher.
func startingContainer() (*Target, error) {
	t, err := Inside()
	if err != nil || os.Getppid() == 1 {
		return t, err
	}
	if t.Init, err = parent(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// parent returns a pidfd of this process's parent, which at createContainer and
// startContainer is the container's first process.
func parent() (*os.File, error) {
	handle, err := pidfd.Open(os.Getppid())
	if err != nil {
		return nil, fmt.Errorf("cannot find the container's first process: %w", err)
	}
	return handle, nil
}
