package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// OCI is a container of runc or crun, whose /dev is the host's.
type OCI struct {
	t       *testing.T
	h       *Host
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
	c := &OCI{t: t, h: h, Runtime: runtime, ID: id, Bundle: filepath.Join(t.TempDir(), id)}
	c.Rootfs = filepath.Join(c.Bundle, "rootfs")
	check(t, os.Mkdir(c.Bundle, 0o755))
	newRootfs(t, c.Rootfs)
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
			map[string]any{"destination": "/opt/devlog", "type": "bind", "source": binDir, "options": []string{"bind", "ro"}},
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

// Hook makes our hook at a stage the only one.
func (c *OCI) Hook(stage string, flags ...string) {
	c.Config["hooks"] = map[string]any{}
	c.AddHook(stage, flags...)
}

// AddHook adds our hook at one more stage.
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
	check(c.t, err)
	check(c.t, os.WriteFile(filepath.Join(c.Bundle, "config.json"), text, 0o644))
	return c
}

// Args is the command line for a command of the runtime on this container.
func (c *OCI) Args(command string, args ...string) []string {
	line := []string{c.Runtime, "--root", filepath.Join(filepath.Dir(c.Bundle), "state")}
	if c.Runtime == "crun" {
		line = append(line, "--cgroup-manager=disabled") // a container of the test's own is no systemd unit
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
	if r := c.h.Detached(c.Args("create")...); r.Code != 0 {
		c.t.Fatalf("%s create: %+v", c.Runtime, r)
	}
}

// Start starts the created container.
func (c *OCI) Start() {
	c.t.Helper()
	c.h.Must(c.Args("start")...)
}

// Exec runs a command in the container.
func (c *OCI) Exec(args ...string) Result {
	c.t.Helper()
	return c.h.Do(c.Args("exec", append([]string{c.ID}, args...)...)...)
}

// State is the container's state and its first process on the host.
func (c *OCI) State() (status string, pid int) {
	c.t.Helper()
	var s struct {
		Status string
		Pid    int
	}
	check(c.t, json.Unmarshal([]byte(c.h.Must(c.Args("state")...).Out), &s))
	return s.Status, s.Pid
}

// WaitStopped waits for the end of the container's process.
func (c *OCI) WaitStopped() {
	c.t.Helper()
	eventually(c.t, c.ID+" has stopped", func() bool {
		status, _ := c.State()
		return status == "stopped"
	})
}

// Log is the container's log file, seen from the test.
func (c *OCI) Log() string {
	return c.h.Path("/var/log/devlog/" + c.ID + "/messages")
}

// LXC is a container of LXC, whose /dev is the host's.
type LXC struct {
	t      *testing.T
	h      *Host
	Name   string
	Rootfs string
	path   string // lxcpath
	conf   string
}

// NewLXC makes a container with our start hook and more lines of configuration.
func NewLXC(t *testing.T, h *Host, name string, lines ...string) *LXC {
	t.Helper()
	return newLXC(t, h, name, append([]string{"lxc.hook.start = /opt/devlog/devlog-hook"}, lines...)...)
}

// newLXC is NewLXC without our hook.
func newLXC(t *testing.T, h *Host, name string, lines ...string) *LXC {
	t.Helper()
	dir := t.TempDir()
	c := &LXC{t: t, h: h, Name: name, Rootfs: filepath.Join(dir, "rootfs"), path: filepath.Join(dir, "lxc"), conf: filepath.Join(dir, "conf")}
	check(t, os.Mkdir(c.path, 0o755))
	newRootfs(t, c.Rootfs)
	lines = append([]string{
		"lxc.rootfs.path = dir:" + c.Rootfs,
		"lxc.mount.entry = /dev dev none rw,bind 0 0",
		"lxc.mount.entry = " + binDir + " opt/devlog none ro,bind,create=dir 0 0",
		"lxc.mount.auto = proc:mixed",
		"lxc.autodev = 0",
		"lxc.net.0.type = empty",
		"lxc.uts.name = " + name,
		"lxc.environment = PATH=/bin:/usr/bin",
	}, lines...)
	check(t, os.WriteFile(c.conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return c
}

// Args is the command line of an LXC program for this container; what is to be
// run in it comes after a "--".
func (c *LXC) Args(program string, args ...string) []string {
	line := []string{program, "-n", c.Name, "-P", c.path}
	if program == "lxc-execute" || program == "lxc-start" {
		line = append(line, "-f", c.conf, "-l", "INFO", "-o", filepath.Join(c.path, "log"))
	}
	return append(line, args...)
}

// Execute runs a script with lxc-execute to its end.
func (c *LXC) Execute(script string) Result {
	c.t.Helper()
	r := c.h.Do(c.Args("lxc-execute", "--", "/bin/sh", "-c", script)...)
	if strings.Contains(r.ErrOut, "Script exited") { // what it said is in the log only
		log, err := os.ReadFile(filepath.Join(c.path, "log"))
		check(c.t, err)
		r.ErrOut += string(log)
	}
	return r
}

// Start starts a script as the container's init with lxc-start, as a daemon.
func (c *LXC) Start(script string) {
	c.t.Helper()
	r := c.h.Do(c.Args("lxc-start", "-d", "--", "/bin/sh", "-c", script)...)
	if r.Code != 0 {
		log, _ := os.ReadFile(filepath.Join(c.path, "log"))
		c.t.Fatalf("lxc-start: %+v\n%s", r, log)
	}
}

// Attach runs a command in the container.
func (c *LXC) Attach(args ...string) Result {
	c.t.Helper()
	return c.h.Do(c.Args("lxc-attach", append([]string{"--clear-env", "--"}, args...)...)...)
}

// WaitStopped waits for the end of the container.
func (c *LXC) WaitStopped() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), deadline)
	defer cancel()
	cmd := c.h.Command(ctx, c.Args("lxc-wait", "-s", "STOPPED")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%s has not stopped: %v\n%s", c.Name, err, out)
	}
}

// Log is the container's log file, seen from the test.
func (c *LXC) Log() string {
	return filepath.Join(c.Rootfs, "var/log/messages")
}
