package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"devlog/internal/file/filetest"
)

// Annotated returns a container with these annotations, and a hook at the stage.
func Annotated(t *testing.T, h *Host, runtime, stage, script string, annotations map[string]any, flags ...string) *OCI {
	t.Helper()
	c := NewOCI(t, h, runtime, "c1", script)
	c.Config["annotations"] = annotations
	c.Hook(stage, flags...)
	return c.Write()
}

// End lets a container's script end, and removes the container. The FIFO is in its own
// directory.
func End(t *testing.T, h *Host, c *OCI, dir string) {
	t.Helper()
	Release(t, dir)
	c.WaitStopped()
	h.Must(c.Args("delete")...)
}

// FirstID is the first ID of a container with a user namespace, on the host.
const FirstID = 100000

// GiveTo gives a container's root directory to its root, and opens the way to it.
func GiveTo(t *testing.T, rootfs string) {
	t.Helper()
	giveToID(t, rootfs, FirstID)
}

// giveToID is GiveTo for a container with that first ID.
func giveToID(t *testing.T, rootfs string, id uint32) {
	t.Helper()
	Check(t, Command("chown", "-hR", fmt.Sprintf("%d:%[1]d", id), rootfs))
	filetest.Reachable(t, filepath.Dir(rootfs))
}

// Mapped gives the container a user namespace.
func (c *OCI) Mapped() { c.MappedTo(FirstID) }

// MappedTo is Mapped with other IDs.
func (c *OCI) MappedTo(first uint32) {
	linux := c.Config["linux"].(map[string]any)
	linux["namespaces"] = append(linux["namespaces"].([]any), map[string]any{"type": "user"})
	ids := []any{map[string]any{"containerID": 0, "hostID": first, "size": 65536}}
	linux["uidMappings"], linux["gidMappings"] = ids, ids
	giveToID(c.t, c.Rootfs, first)
}

// OwnedBy fails unless the user owns the file. It does not follow a link.
func OwnedBy(t *testing.T, name string, uid uint32) {
	t.Helper()
	info, err := os.Lstat(name)
	Check(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != uid {
		t.Errorf("%s is %d:%d's, want %d's", name, st.Uid, st.Gid, uid)
	}
}

// SetPIDNamespace makes the container use the PID namespace at that path; the host's if
// it is empty.
func (c *OCI) SetPIDNamespace(path string) {
	linux := c.Config["linux"].(map[string]any)
	list := slices.DeleteFunc(linux["namespaces"].([]any), func(ns any) bool { return ns.(map[string]any)["type"] == "pid" })
	if path != "" {
		list = append(list, map[string]any{"type": "pid", "path": path})
	}
	linux["namespaces"] = list
}

// OCI is a container of runc or crun, whose /dev is the host's.
type OCI struct {
	t       *testing.T
	H       *Host
	Runtime string
	ID      string
	Bundle  string
	Rootfs  string
	// Config is written as config.json by Write.
	Config map[string]any
}

// NewOCI makes a bundle whose process is a shell script.
func NewOCI(t *testing.T, h *Host, runtime, id, script string) *OCI {
	t.Helper()
	c := &OCI{t: t, H: h, Runtime: runtime, ID: id, Bundle: filepath.Join(t.TempDir(), id)}
	c.Rootfs = filepath.Join(c.Bundle, "rootfs")
	Check(t, os.Mkdir(c.Bundle, 0o755))
	NewRootfs(t, c.Rootfs)
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_MKNOD", "CAP_SYS_CHROOT"}
	namespaces := []any{}
	for _, ns := range []string{"pid", "mount", "uts", "ipc"} {
		namespaces = append(namespaces, map[string]any{"type": ns})
	}
	c.Config = map[string]any{
		"ociVersion": "1.0.2",
		"hostname":   id,
		"process": map[string]any{
			"args": []string{"/bin/sh", "-c", script}, "cwd": "/", "env": []string{"PATH=/bin:/usr/bin"},
			"user":         map[string]any{"uid": 0, "gid": 0},
			"capabilities": map[string]any{"bounding": caps, "effective": caps, "permitted": caps},
		},
		"root": map[string]any{"path": "rootfs"},
		"mounts": []any{
			map[string]any{"destination": "/proc", "type": "proc", "source": "proc"},
			map[string]any{"destination": "/dev", "type": "bind", "source": "/dev", "options": []string{"rbind", "rw"}},
			map[string]any{"destination": "/opt/devlog", "type": "bind", "source": BinDir, "options": []string{"bind", "ro"}},
		},
		"linux": map[string]any{"namespaces": namespaces, "cgroupsPath": fmt.Sprintf("/devlog-test-%d-%s", os.Getpid(), id)},
	}
	return c
}

// Mount adds a mount to the container.
func (c *OCI) Mount(destination, kind, source string, options ...string) {
	c.Config["mounts"] = append(c.Config["mounts"].([]any),
		map[string]any{"destination": destination, "type": kind, "source": source, "options": options})
}

// Hook makes devlog's hook at a stage the only hook.
func (c *OCI) Hook(stage string, flags ...string) {
	c.Config["hooks"] = map[string]any{}
	c.AddHook(stage, flags...)
}

// AddHook adds devlog's hook at a further stage.
func (c *OCI) AddHook(stage string, flags ...string) {
	args := append([]string{"devlog-hook", "oci", "--stage", stage}, flags...)
	c.Config["hooks"].(map[string]any)[stage] = []any{map[string]any{
		"path": hookAt(stage), "args": args, "env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
	}}
}

// Write writes config.json.
func (c *OCI) Write() *OCI {
	c.t.Helper()
	text, err := json.MarshalIndent(c.Config, "", "\t")
	Check(c.t, err)
	Check(c.t, os.WriteFile(filepath.Join(c.Bundle, "config.json"), text, 0o644))
	return c
}

// Args returns the command line for a command of the runtime on this container.
func (c *OCI) Args(command string, args ...string) []string {
	line := []string{c.Runtime, "--root", filepath.Join(filepath.Dir(c.Bundle), "state")}
	if c.Runtime == "crun" {
		line = append(line, "--cgroup-manager=disabled") // the test's container is not a systemd unit
	}
	line = append(line, command)
	if command == "run" || command == "create" {
		line = append(line, "--bundle", c.Bundle)
	}
	line = append(line, args...)
	if command == "exec" { // the ID comes before the command
		return line
	}
	return append(line, c.ID)
}

// Create creates the container; its process keeps the output.
func (c *OCI) Create() {
	c.t.Helper()
	if r := c.H.Detached(c.Args("create")...); r.Code != 0 {
		c.t.Fatalf("%s create: %+v", c.Runtime, r)
	}
}

// Start starts the created container.
func (c *OCI) Start() {
	c.t.Helper()
	c.H.Must(c.Args("start")...)
}

// Exec runs a command in the container.
func (c *OCI) Exec(args ...string) Result {
	c.t.Helper()
	return c.H.Do(c.Args("exec", append([]string{c.ID}, args...)...)...)
}

// State returns the container's state and its first process on the host.
func (c *OCI) State() (status string, pid int) {
	c.t.Helper()
	var s struct {
		Status string
		Pid    int
	}
	Check(c.t, json.Unmarshal([]byte(c.H.Must(c.Args("state")...).Out), &s))
	return s.Status, s.Pid
}

// WaitStopped waits for the end of the container's process.
func (c *OCI) WaitStopped() {
	c.t.Helper()
	Eventually(c.t, c.ID+" has stopped", func() bool {
		status, _ := c.State()
		return status == "stopped"
	})
}

// Log returns the container's log file, as the test sees it.
func (c *OCI) Log() string {
	return c.H.Path("/var/log/devlog/" + c.ID + "/messages")
}

// LXC is a container of LXC, whose /dev is the host's.
type LXC struct {
	t      *testing.T
	H      *Host
	Name   string
	Rootfs string
	Path   string // lxcpath
	Conf   string
}

// NewLXC makes a container with the start hook and these lines of configuration.
func NewLXC(t *testing.T, h *Host, name string, lines ...string) *LXC {
	t.Helper()
	return BareLXC(t, h, name, append([]string{"lxc.hook.start = /opt/devlog/devlog-hook"}, lines...)...)
}

// BareLXC is NewLXC without the hook.
func BareLXC(t *testing.T, h *Host, name string, lines ...string) *LXC {
	t.Helper()
	dir := t.TempDir()
	c := &LXC{t: t, H: h, Name: name, Rootfs: filepath.Join(dir, "rootfs"), Path: filepath.Join(dir, "lxc"), Conf: filepath.Join(dir, "conf")}
	Check(t, os.Mkdir(c.Path, 0o755))
	NewRootfs(t, c.Rootfs)
	lines = append([]string{
		"lxc.rootfs.path = dir:" + c.Rootfs,
		"lxc.mount.entry = /dev dev none rw,bind 0 0",
		"lxc.mount.entry = " + BinDir + " opt/devlog none ro,bind,create=dir 0 0",
		"lxc.mount.auto = proc:mixed",
		"lxc.autodev = 0",
		"lxc.net.0.type = empty",
		"lxc.uts.name = " + name,
		"lxc.environment = PATH=/bin:/usr/bin",
	}, lines...)
	Check(t, os.WriteFile(c.Conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return c
}

// Args returns the command line of an LXC program for this container. A command to run in
// it comes after "--".
func (c *LXC) Args(program string, args ...string) []string {
	line := []string{program, "-n", c.Name, "-P", c.Path}
	if program == "lxc-execute" || program == "lxc-start" {
		line = append(line, "-f", c.Conf, "-l", "INFO", "-o", filepath.Join(c.Path, "log"))
	}
	return append(line, args...)
}

// Execute runs a script with lxc-execute to its end.
func (c *LXC) Execute(script string) Result {
	c.t.Helper()
	r := c.H.Do(c.Args("lxc-execute", "--", "/bin/sh", "-c", script)...)
	if strings.Contains(r.ErrOut, "Script exited") { // only the log has the hook's output
		log, err := os.ReadFile(filepath.Join(c.Path, "log"))
		Check(c.t, err)
		r.ErrOut += string(log)
	}
	return r
}

// Start starts a script as the container's init with lxc-start, as a daemon.
func (c *LXC) Start(script string) {
	c.t.Helper()
	r := c.H.Do(c.Args("lxc-start", "-d", "--", "/bin/sh", "-c", script)...)
	if r.Code != 0 {
		log, _ := os.ReadFile(filepath.Join(c.Path, "log"))
		c.t.Fatalf("lxc-start: %+v\n%s", r, log)
	}
}

// Attach runs a command in the container.
func (c *LXC) Attach(args ...string) Result {
	c.t.Helper()
	return c.H.Do(c.Args("lxc-attach", append([]string{"--clear-env", "--"}, args...)...)...)
}

// WaitStopped waits for the end of the container.
func (c *LXC) WaitStopped() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), Deadline)
	defer cancel()
	cmd := c.H.Command(ctx, c.Args("lxc-wait", "-s", "STOPPED")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%s has not stopped: %v\n%s", c.Name, err, out)
	}
}

// Log returns the container's log file, as the test sees it.
func (c *LXC) Log() string {
	return filepath.Join(c.Rootfs, "var/log/messages")
}

// hookAt returns devlog-hook's path at a stage.
func hookAt(stage string) string {
	if stage == "startContainer" {
		return HookIn
	}
	return HookOn()
}

// LogInside returns the container's own log file, as the test sees it.
func (c *OCI) LogInside() string { return filepath.Join(c.Rootfs, "var/log/messages") }

// Wrapped returns a command line for the container with devlog-runtime in place of the
// runtime.
func (c *OCI) Wrapped(command string) []string {
	line := c.Args(command)
	return append([]string{"env", "DEVLOG_RUNTIME=" + line[0], filepath.Join(BinDir, "devlog-runtime")}, line[1:]...)
}

// ReadConfig returns the bundle's config.json, and its hooks separately.
func (c *OCI) ReadConfig() (config, hooks map[string]any) {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Bundle, "config.json"))
	Check(c.t, err)
	Check(c.t, json.Unmarshal(text, &config))
	hooks, _ = config["hooks"].(map[string]any)
	delete(config, "hooks")
	return config, hooks
}
