package nri

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"

	"devlog/internal/annotation"
)

const (
	// maxRepairs is how many containers wait to be repaired: more than a node has.
	maxRepairs = 4096
	// repairTime is how long the repair of one container may take.
	repairTime = 30 * time.Second
	// notesDir is where the hook finds the container's config.json.
	notesDir = "/run/devlog"
)

// running is a container that runs already.
type running struct {
	pod       *api.PodSandbox
	container *api.Container
}

// Synchronize gets the containers that run already. Those that want devlog have no
// hooks if they were created before the plugin started. They are repaired later,
// because the engine waits for the answer.
func (p *Plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	if !p.Repair {
		return nil, nil
	}
	byID := make(map[string]*api.PodSandbox, len(pods))
	for _, pod := range pods {
		byID[pod.GetId()] = pod
	}
	for _, c := range containers {
		pod := byID[c.GetPodSandboxId()]
		if s := c.GetState(); s != api.ContainerState_CONTAINER_RUNNING && s != api.ContainerState_CONTAINER_CREATED || c.GetPid() == 0 || !p.wanted(pod, c) {
			continue
		}
		select {
		case p.repairs <- &running{pod, c}:
		default:
			p.of(pod, c).Error("too many containers wait to be repaired; this one is left out")
		}
	}
	return nil, nil
}

// repairAll repairs containers, one after the other, until the context ends.
func (p *Plugin) repairAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-p.repairs:
			log := p.of(r.pod, r.container)
			if err := p.repair(ctx, r); err != nil {
				p.failed.Add(1)
				log.Error("cannot repair a container that runs", "error", err)
				continue
			}
			p.repaired.Add(1)
			log.Info("a container that runs has devlog")
		}
	}
}

// repair runs the hook for the container, on the node, as the engine would.
func (p *Plugin) repair(ctx context.Context, r *running) error {
	if err := p.installed(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	done := make(chan error)
	go func() {
		// The thread stays in the node's namespaces and ends with this goroutine.
		runtime.LockOSThread()
		done <- func() error {
			if err := enterNode(); err != nil {
				return fmt.Errorf("cannot enter the node's namespaces: %w", err)
			}
			return p.runHook(ctx, r)
		}()
	}()
	return <-done
}

// enterNode makes this thread see the node's files and cgroups, if it does not.
func enterNode() error {
	for _, ns := range []struct {
		name string
		flag int
	}{{"cgroup", unix.CLONE_NEWCGROUP}, {"mnt", unix.CLONE_NEWNS}} {
		node := "/proc/1/ns/" + ns.name
		there, err := os.Readlink(node)
		if err != nil {
			return err
		}
		if here, err := os.Readlink("/proc/thread-self/ns/" + ns.name); err == nil && here == there {
			continue
		}
		if err := setns(node, ns.flag); err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	return nil
}

func setns(name string, flag int) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // only read from
	if flag == unix.CLONE_NEWNS {
		// setns(2) needs a thread with its own root and working directory.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
	}
	return unix.Setns(fd, flag)
}

// runHook runs the hook at the stage poststart. It writes a config.json for the hook,
// with what the engine's would have.
func (p *Plugin) runHook(ctx context.Context, r *running) (err error) {
	pid := int(r.container.GetPid())
	if err := isOf(pid, r.container.GetId()); err != nil {
		return err
	}
	if err := os.MkdirAll(notesDir, 0o755); err != nil {
		return err
	}
	bundle, err := os.MkdirTemp(notesDir, ".nri-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bundle)) }()
	said := said(r.pod, r.container)
	config, state, err := describe(r, said, bundle)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.Dir, hookName), append(p.hookArgs("poststart", said), "--on-error", "fail")...)
	cmd.WaitDelay = 2 * time.Second // a child of the hook may still have its output open
	cmd.Env, cmd.Dir = []string{hookPath}, "/"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return err
	}
	// While the hook waits for the state it has started no process.
	if err := joinShim(pid, cmd.Process.Pid); err != nil {
		p.of(r.pod, r.container).Warn("the receiver will end with this plugin", "error", err)
	}
	_, werr := stdin.Write(state)
	if err := errors.Join(werr, stdin.Close(), cmd.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// describe returns the parts of the container's config.json and state (runtime-spec)
// that the hook reads.
func describe(r *running, said map[string]annotation.Said, bundle string) (config, state []byte, err error) {
	annotations := annotation.Pod{Namespace: r.pod.GetNamespace(), Name: r.pod.GetName(), Container: r.container.GetName()}.Annotations()
	for name, s := range said {
		annotations[s.Name(name)] = s.Value
	}
	config, err = json.Marshal(map[string]any{"root": map[string]string{"path": "/"}, "annotations": annotations})
	if err != nil {
		return nil, nil, err
	}
	state, err = json.Marshal(map[string]any{"ociVersion": "1.0.2", "id": r.container.GetId(), "status": "running",
		"pid": r.container.GetPid(), "bundle": bundle})
	return config, state, err
}

// isOf returns an error if the process is not in the container: its ID may belong to
// another process by now, or to another PID namespace.
func isOf(pid int, container string) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err == nil && !strings.Contains(string(text), container) {
		err = fmt.Errorf("process %d is not in the container's cgroup; hint: let the plugin see the node's processes (hostPID)", pid)
	}
	return err
}

// joinShim puts the process into the cgroups of the parent of the container's first
// process, in which hooks run: then its receiver lives as long as a hook's.
func joinShim(container, process int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", container))
	if err != nil {
		return err
	}
	parent, err := parentOf(string(stat))
	if err != nil {
		return err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", parent))
	if err != nil {
		return err
	}
	for _, dir := range cgroupDirs(string(text)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Appendln(nil, process), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a hierarchy that is not mounted
			return err
		}
	}
	return nil
}

// parentOf reads the parent's ID from the text of a /proc/PID/stat (proc(5)).
func parentOf(stat string) (pid int, err error) {
	at := strings.LastIndex(stat, ")") // the command may have any characters
	var state string
	if _, err := fmt.Sscan(stat[at+1:], &state, &pid); err != nil {
		return 0, fmt.Errorf("cannot read a process's parent from %q: %w", stat, err)
	}
	return pid, nil
}

// cgroupDirs returns the usual directories of the cgroups in the text of a
// /proc/PID/cgroup (cgroups(7)).
func cgroupDirs(text string) (dirs []string) {
	const root = "/sys/fs/cgroup"
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch controllers := strings.TrimPrefix(fields[1], "name="); {
		case controllers != "":
			dirs = append(dirs, filepath.Join(root, controllers, fields[2]))
		default:
			if _, err := os.Stat(root + "/unified"); err == nil {
				dirs = append(dirs, filepath.Join(root, "unified", fields[2]))
				continue
			}
			dirs = append(dirs, filepath.Join(root, fields[2]))
		}
	}
	return dirs
}
