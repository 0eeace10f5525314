package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// hookIn is our hook's path in a container.
const hookIn = "/opt/devlog/devlog-hook"

// hookOn is our hook's path on the host.
func hookOn() string { return filepath.Join(binDir, "devlog-hook") }

// running is a container without our hook, and how to run commands with it.
type running struct {
	exec       func(args ...string) Result // in the container
	pid        int                         // of its first process, on the host
	rootfs     string
	stop       func()
	log        string
	privileged bool // it may mount
}

// startPlain starts a container of LXC, runc or crun without our hook.
func startPlain(t *testing.T, h *Host, runtime string) running {
	t.Helper()
	if runtime == "lxc" {
		c := newLXC(t, h, "plain")
		c.Start(hold)
		pid, err := strconv.Atoi(strings.TrimSpace(h.Must(c.Args("lxc-info", "-pH")...).Out))
		check(t, err)
		return running{c.Attach, pid, c.Rootfs, func() {
			release(t, c.Rootfs)
			c.WaitStopped()
		}, c.Log(), true}
	}
	c := NewOCI(t, h, runtime, "plain", hold)
	c.Write().Create()
	c.Start()
	_, pid := c.State()
	return running{c.Exec, pid, c.Rootfs, func() {
		release(t, c.Rootfs)
		c.WaitStopped()
		h.Must(c.Args("delete")...)
	}, filepath.Join(c.Rootfs, "var/log/messages"), false}
}

// eachRuntime runs a test with a plain container of every runtime.
func eachRuntime(t *testing.T, test func(t *testing.T, h *Host, c running)) {
	for _, runtime := range []string{"lxc", "runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			needContainers(t, runtime)
			h := NewHost(t)
			test(t, h, startPlain(t, h, runtime))
		})
	}
}

// expectRepaired repairs twice, checks, and logs.
func expectRepaired(t *testing.T, h *Host, c running, log string, hook func(args ...string) Result, flags ...string) {
	t.Helper()
	if r := hook("check"); r.Code != 1 {
		t.Errorf("check before the repair: %+v", r)
	}
	if r := hook(append([]string{"repair"}, flags...)...); r.Code != 0 || strings.Contains(r.Out+r.ErrOut, "nothing to do") {
		t.Fatalf("repair: %+v", r)
	}
	receivers := h.Receivers()
	if len(receivers) != 1 {
		t.Errorf("receivers after the repair: %v of %q", receivers, h.Processes())
	}
	if r := c.exec("/bin/sh", "-c", threeClients("a")); r.Code != 0 {
		t.Errorf("clients: %+v", r)
	}
	wantOnce(t, log, threeTexts("a")...)
	if r := hook(append([]string{"repair"}, flags...)...); r.Code != 0 || !strings.Contains(r.Out, "nothing to do") {
		t.Errorf("the second repair: %+v", r)
	}
	if r := hook("check"); r.Code != 0 {
		t.Errorf("check after the repair: %+v", r)
	}
	if again := h.Receivers(); !slices.Equal(again, receivers) {
		t.Errorf("receivers after the second repair: %v, were %v", again, receivers)
	}
	if r := c.exec("/bin/sh", "-c", threeClients("b")); r.Code != 0 {
		t.Errorf("clients: %+v", r)
	}
	wantOnce(t, log, threeTexts("b")...)
	c.stop()
	expectReceiversEnd(t, h)
}

func TestRepairInside(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *Host, c running) {
		before := hostTree(h)
		expectRepaired(t, h, c, c.log, func(args ...string) Result {
			return c.exec(append([]string{hookIn}, args...)...)
		})
		left := linked
		if strings.HasSuffix(t.Name(), "/lxc") { // which may mount
			left = "/dev/log"
		}
		expectNew(t, h, before, left)
	})
}

func TestRepairPID(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *Host, c running) {
		before := hostTree(h)
		expectRepaired(t, h, c, h.Path("/var/log/devlog/plain/messages"), func(args ...string) Result {
			return h.Do(append([]string{hookOn(), args[0], "--pid", fmt.Sprint(c.pid)}, args[1:]...)...)
		}, "--name", "plain")
		expectNew(t, h, before, ociLeaves("plain")...)
		expectEmpty(t, filepath.Join(c.rootfs, "run"))
	})
}

// A dry run says what it would do, and does nothing.
func TestDryRun(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *Host, c running) {
		before := hostTree(h)
		r := h.Do(hookOn(), "repair", "--dry-run", "--pid", fmt.Sprint(c.pid))
		if r.Code != 0 || !strings.Contains(r.Out, "/run/devlog/log") || strings.Contains(r.Out, "nothing to do") {
			t.Errorf("dry run: %+v", r)
		}
		expectNew(t, h, before)
		expectEmpty(t, filepath.Join(c.rootfs, "run"))
		if n := len(h.Receivers()); n != 0 {
			t.Errorf("%d receivers after a dry run", n)
		}
		c.stop()
	})
}

// checked is what check says: its exit code and words of its text.
type checked struct {
	code int
	says string
}

// check in every state: its exit code, what it says, and the same in JSON.
func TestCheck(t *testing.T) {
	for _, s := range []struct {
		name string
		make func(t *testing.T, h *Host)
		want map[string]checked
	}{
		{"absent", func(*testing.T, *Host) {}, map[string]checked{
			"inside": {1, "repair    symlink"}, "pid": {1, "repair    symlink"}}},
		{"stale socket", staleSocket, map[string]checked{
			"inside": {1, "repair    symlink"}, "pid": {1, "repair    symlink"}}},
		{"journal", journal, map[string]checked{
			"inside": {1, "repair    adopt"}, "pid": {1, "repair    adopt"}}},
		// Only from the host may anything be mounted in this container.
		{"live socket", func(t *testing.T, h *Host) { _ = listen(t, h.Path("/dev/log")) }, map[string]checked{
			"inside": {3, "repair --host"}, "pid": {1, "repair    bind"}}},
	} {
		t.Run(s.name, func(t *testing.T) {
			needContainers(t, "crun")
			h := NewHost(t)
			s.make(t, h)
			c := startPlain(t, h, "crun")
			before := hostTree(h)
			for name, hook := range map[string]func(args ...string) Result{
				"inside": func(args ...string) Result { return c.exec(append([]string{hookIn}, args...)...) },
				"pid": func(args ...string) Result {
					return h.Do(append([]string{hookOn(), args[0], "--pid", fmt.Sprint(c.pid)}, args[1:]...)...)
				},
			} {
				want, r := s.want[name], hook("check")
				if r.Code != want.code || !strings.Contains(r.Out, want.says) || r.ErrOut != "" {
					t.Errorf("%s: check: %+v, want %+v", name, r, want)
				}
				var labels []string
				for line := range strings.Lines(r.Out) {
					label, _, _ := strings.Cut(line, " ")
					labels = append(labels, label)
				}
				if all := []string{"/dev", "/dev/log", "syslog()", "repair"}; !slices.Equal(labels, all) {
					t.Errorf("%s: check's lines are for %q, want %q", name, labels, all)
				}
				j := hook("check", "--json")
				var facts map[string]any
				if err := json.Unmarshal([]byte(j.Out), &facts); err != nil || len(facts) == 0 || j.Code != want.code {
					t.Errorf("%s: check --json: %+v, %v", name, j, err)
				}
			}
			expectNew(t, h, before)
			c.stop()
		})
	}
}

// --root works on a directory that no process has for its root.
func TestRepairRoot(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	root := filepath.Join(t.TempDir(), "root")
	newRootfs(t, root)
	if r := h.Do(hookOn(), "check", "--root", root); r.Code != 1 {
		t.Errorf("check: %+v", r)
	}
	if r := h.Do(hookOn(), "repair", "--root", root, "--receiver", "none"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	if to, err := os.Readlink(filepath.Join(root, "dev/log")); err != nil || to != "/run/devlog/log" {
		t.Errorf("/dev/log points to %q, %v", to, err)
	}
	// A receiver lives until it is told to end.
	if r := h.Do(hookOn(), "repair", "--root", root, "--name", "plain"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	if len(h.Receivers()) != 1 {
		t.Errorf("receivers: %q", h.Processes())
	}
	if r := h.Do(hookOn(), "undo", "--root", root); r.Code != 0 {
		t.Fatalf("undo: %+v", r)
	}
	expectEmpty(t, filepath.Join(root, "dev"))
	expectEmpty(t, filepath.Join(root, "run"))
}
