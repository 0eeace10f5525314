package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// InstallDir is where the files in hooks/ expect the programs.
const InstallDir = "/usr/libexec/devlog"

// Install puts the programs where the files in hooks/ expect them, on the fake
// host only.
func Install(t *testing.T, h *Host) {
	t.Helper()
	Overlay(h, filepath.Dir(InstallDir))
	h.Must("mkdir", "-p", InstallDir)
	h.Must("cp", filepath.Join(BinDir, "devlogd"), filepath.Join(BinDir, "devlog-hook"), filepath.Join(BinDir, "devlog-runtime"), InstallDir)
}

// Overlay hides the machine's own directory: changes there stay on the fake host.
func Overlay(h *Host, dir string) {
	h.T.Helper()
	over := "/run/overlay" + dir
	h.Must("mkdir", "-p", over+"/upper", over+"/work")
	h.Must("mount", "-n", "-t", "overlay", "-o", "lowerdir="+dir+",upperdir="+over+"/upper,workdir="+over+"/work", "overlay", dir)
}

// Include returns a container's configuration in which the file replaces the
// harness's lines that contain one of these texts.
func (c *LXC) Include(file string, without ...string) {
	c.t.Helper()
	conf, err := os.ReadFile(c.Conf)
	Check(c.t, err)
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(conf)), "\n"), func(line string) bool {
		return slices.ContainsFunc(without, func(text string) bool { return strings.Contains(line, text) })
	})
	lines = append(lines, "lxc.include = "+file)
	Check(c.t, os.WriteFile(c.Conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
}

// HooksDir makes a directory with one file of hooks/: podman reads every .json in it.
func HooksDir(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	Check(t, Command("cp", HookFile(t, file), dir))
	return dir
}

// Promptly is how soon a receiver must end after its container. The aim is one
// second; a loaded machine may need more.
const Promptly = 5 * time.Second

// EachOCI runs a test with every runtime and every host-side stage.
func EachOCI(t *testing.T, test func(t *testing.T, h *Host, runtime, stage string)) {
	for _, runtime := range []string{"runc", "crun"} {
		for _, stage := range []string{"prestart", "createRuntime"} {
			t.Run(runtime+"/"+stage, func(t *testing.T) {
				NeedContainers(t, runtime)
				test(t, NewHost(t), runtime, stage)
			})
		}
	}
}

// Tree returns everything that the host and its containers share or could leave,
// except terminals and LXC's locks, which come and go.
func Tree(h *Host) []string {
	h.T.Helper()
	return h.Tree([]string{"/dev/pts", "/run/lxc"}, "/dev", "/run", "/var/log")
}

// ExpectNew compares the host's tree to an earlier one. added are the expected new
// names, without modes.
func ExpectNew(t *testing.T, h *Host, before []string, added ...string) {
	t.Helper()
	after := Tree(h)
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("the host lost %q", line)
		}
	}
	var got []string
	for _, line := range after {
		if !slices.Contains(before, line) {
			_, name, _ := strings.Cut(line, " ")
			if name != "/var/log/devlog/by-name" { // it stays, for the links of other containers
				got = append(got, name)
			}
		}
	}
	if slices.Contains(added, Linked) && slices.Contains(got, "/dev/.devlog-host") {
		got = WithoutPrepared(t, h, got)
	}
	slices.Sort(added)
	slices.Sort(got)
	if !slices.Equal(got, added) {
		t.Errorf("new on the host: %q, want %q", got, added)
	}
}

// Linked is how a container with a hook on the host leaves a /dev/log where nobody
// listened.
const Linked = "/dev/log -> /run/devlog/log"

// WithoutPrepared returns the new names without those of a prepared host: a repair
// from the host that makes the link prepares it.
func WithoutPrepared(t *testing.T, h *Host, names []string) []string {
	t.Helper()
	if to, err := os.Readlink(h.Path("/run/devlog/log")); err != nil || to != "/dev/.devlog-host" {
		t.Errorf("the host is half prepared: its link leads to %q, %v", to, err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return name == "/dev/.devlog-host" || name == "/run/devlog" || name == "/run/devlog/log -> /dev/.devlog-host" ||
			strings.HasPrefix(name, "/run/devlog/.devlog-repair -> ")
	})
}

// OCILeaves is what a container with a hook leaves on a host without /dev/log.
func OCILeaves(id string) []string {
	return []string{Linked, "/var/log/devlog", "/var/log/devlog/" + id, "/var/log/devlog/" + id + "/messages"}
}

// ExpectEmpty fails if a directory of a container's root holds anything.
func ExpectEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	Check(t, err)
	if len(entries) != 0 {
		t.Errorf("left in %s: %v", dir, entries)
	}
}

// ExpectReceiversEnd waits for the receivers' end, which must be prompt.
func ExpectReceiversEnd(t *testing.T, h *Host) {
	t.Helper()
	start := time.Now()
	Eventually(t, "the receivers have ended with the containers", func() bool { return len(h.Receivers()) == 0 && !h.ends() })
	if took := time.Since(start); took > Promptly {
		t.Errorf("the receivers took %v to end", took)
	}
}

// ExpectDaemon checks what a receiver holds of the host and of its starter.
func ExpectDaemon(t *testing.T, h *Host, pid int, c *OCI) {
	t.Helper()
	proc := h.Path(fmt.Sprintf("/proc/%d", pid))
	for _, ns := range []string{"mnt", "pid"} {
		got, err := os.Readlink(proc + "/ns/" + ns)
		Check(t, err)
		want, err := os.Readlink(h.Path("/proc/1/ns/" + ns))
		Check(t, err)
		if got != want {
			t.Errorf("the receiver's %s namespace is not the host's", ns)
		}
	}
	stat, err := os.ReadFile(proc + "/stat")
	Check(t, err)
	// After the name in parentheses: state, ppid, pgrp, session.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if fields[3] != fmt.Sprint(pid) {
		t.Errorf("the receiver's session is %s, want its own, %d", fields[3], pid)
	}
	if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("the receiver's working directory is %q, %v", cwd, err)
	}
	fds, err := os.ReadDir(proc + "/fd")
	Check(t, err)
	pipes := map[string]int{}
	for _, fd := range fds {
		name := filepath.Join(proc, "fd", fd.Name())
		to, err := os.Readlink(name)
		if err != nil { // closed meanwhile
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			continue
		}
		if len(fd.Name()) == 1 && fd.Name() <= "2" {
			if st.Mode&unix.S_IFMT != unix.S_IFCHR || file.DeviceOf(&st) != unix.Mkdev(1, 3) {
				t.Errorf("the receiver's descriptor %s is %s, want /dev/null", fd.Name(), to)
			}
			continue
		}
		if strings.HasPrefix(to, "/memfd:devlogd: confined (") {
			continue
		}
		if strings.HasPrefix(to, "pipe:") {
			pipes[to]++
		} else if !ownFile(h, to, st, c) {
			t.Errorf("the receiver holds descriptor %s: %s", fd.Name(), to)
		}
	}
	for pipe, ends := range pipes {
		if ends != 2 { // both ends of its own pipe; a single end would be another program's
			t.Errorf("the receiver holds an end of %s", pipe)
		}
	}
}

// ownFile returns whether a receiver may have that file open.
func ownFile(h *Host, link string, st unix.Stat_t, c *OCI) bool {
	_, pid := c.State()
	for _, own := range []string{"socket:", fmt.Sprintf("/proc/%d/mountinfo", pid), "pidfd:", "anon_inode:[pidfd]", "anon_inode:[eventpoll]", "anon_inode:[eventfd]",
		"anon_inode:inotify", "/sys/fs/cgroup/cpu", // the Go runtime reads how many processors it may use
		"/var/log/devlog/" + c.ID + "/", "/dev/kmsg"} {
		if strings.HasPrefix(link, own) {
			return true
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	// A directory must be the container's: its root file system or its /run.
	for _, dir := range []string{"/", "/run"} {
		var of unix.Stat_t
		if unix.Stat(h.Path(fmt.Sprintf("/proc/%d/root%s", pid, dir)), &of) == nil && of.Dev == st.Dev {
			return true
		}
	}
	return false
}

// HookIn is devlog-hook's path in a container.
const HookIn = "/opt/devlog/devlog-hook"

// HookOn is devlog-hook's path on the host.
func HookOn() string { return filepath.Join(BinDir, "devlog-hook") }

// Running is a container without a hook, and how to run commands in it.
type Running struct {
	Exec       func(args ...string) Result // in the container
	Pid        int                         // of its first process, as the host numbers it
	Rootfs     string
	Stop       func()
	Log        string
	Privileged bool // it may mount
}

// StartPlain starts a container of LXC, runc or crun without a hook.
func StartPlain(t *testing.T, h *Host, runtime string) Running {
	t.Helper()
	if runtime == "lxc" {
		c := BareLXC(t, h, "plain")
		c.Start(Hold)
		pid, err := strconv.Atoi(strings.TrimSpace(h.Must(c.Args("lxc-info", "-pH")...).Out))
		Check(t, err)
		return Running{c.Attach, pid, c.Rootfs, func() {
			Release(t, c.Rootfs)
			c.WaitStopped()
		}, c.Log(), true}
	}
	c := NewOCI(t, h, runtime, "plain", Hold)
	c.Write().Create()
	c.Start()
	_, pid := c.State()
	return Running{c.Exec, pid, c.Rootfs, func() {
		Release(t, c.Rootfs)
		c.WaitStopped()
		h.Must(c.Args("delete")...)
	}, filepath.Join(c.Rootfs, "var/log/messages"), false}
}
