package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// eachRuntime runs a test with a plain container of every runtime.
func eachRuntime(t *testing.T, test func(t *testing.T, h *host.Host, c host.Running)) {
	for _, runtime := range []string{"lxc", "runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			test(t, h, host.StartPlain(t, h, runtime))
		})
	}
}

// expectRepaired repairs twice, checks, and logs.
func expectRepaired(t *testing.T, h *host.Host, c host.Running, log string, hook func(args ...string) host.Result, flags ...string) {
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
	if r := c.Exec("/bin/sh", "-c", host.ThreeClients("a")); r.Code != 0 {
		t.Errorf("clients: %+v", r)
	}
	host.WantOnce(t, log, host.ThreeTexts("a")...)
	if r := hook(append([]string{"repair"}, flags...)...); r.Code != 0 || !strings.Contains(r.Out, "nothing to do") {
		t.Errorf("the second repair: %+v", r)
	}
	if r := hook("check"); r.Code != 0 {
		t.Errorf("check after the repair: %+v", r)
	}
	if again := h.Receivers(); !slices.Equal(again, receivers) {
		t.Errorf("receivers after the second repair: %v, were %v", again, receivers)
	}
	if r := c.Exec("/bin/sh", "-c", host.ThreeClients("b")); r.Code != 0 {
		t.Errorf("clients: %+v", r)
	}
	host.WantOnce(t, log, host.ThreeTexts("b")...)
	c.Stop()
	host.ExpectReceiversEnd(t, h)
}

func TestRepairInside(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *host.Host, c host.Running) {
		before := host.Tree(h)
		expectRepaired(t, h, c, c.Log, func(args ...string) host.Result {
			return c.Exec(append([]string{host.HookIn}, args...)...)
		})
		left := host.Linked
		if strings.HasSuffix(t.Name(), "/lxc") { // LXC's container may mount
			left = "/dev/log"
		}
		host.ExpectNew(t, h, before, left)
	})
}

func TestRepairPID(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *host.Host, c host.Running) {
		before := host.Tree(h)
		expectRepaired(t, h, c, h.Path("/var/log/devlog/plain/messages"), func(args ...string) host.Result {
			return h.Do(append([]string{host.HookOn(), args[0], "--pid", fmt.Sprint(c.Pid)}, args[1:]...)...)
		}, "--name", "plain")
		host.ExpectNew(t, h, before, host.OCILeaves("plain")...)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}

// A dry run says what it would do, and does nothing.
func TestDryRun(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *host.Host, c host.Running) {
		before := host.Tree(h)
		r := h.Do(host.HookOn(), "repair", "--dry-run", "--pid", fmt.Sprint(c.Pid))
		if r.Code != 0 || !strings.Contains(r.Out, "/run/devlog/log") || strings.Contains(r.Out, "nothing to do") {
			t.Errorf("dry run: %+v", r)
		}
		host.ExpectNew(t, h, before)
		host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
		if n := len(h.Receivers()); n != 0 {
			t.Errorf("%d receivers after a dry run", n)
		}
		c.Stop()
	})
}

// checked is the result of check: its exit code and words of its output.
type checked struct {
	code int
	says string
}

// check in every state: its exit code, its output, and the same in JSON.
func TestCheck(t *testing.T) {
	for _, s := range []struct {
		name string
		make func(t *testing.T, h *host.Host)
		want map[string]checked
	}{
		{"absent", func(*testing.T, *host.Host) {}, map[string]checked{
			"inside": {1, "repair    symlink"}, "pid": {1, "repair    symlink"}}},
		{"stale socket", host.StaleSocket, map[string]checked{
			"inside": {1, "repair    symlink"}, "pid": {1, "repair    symlink"}}},
		{"journal", host.Journal, map[string]checked{
			"inside": {1, "repair    adopt"}, "pid": {1, "repair    adopt"}}},
		// Only the host may mount in this container.
		{"live socket", func(t *testing.T, h *host.Host) { _ = host.Listen(t, h.Path("/dev/log")) }, map[string]checked{
			"inside": {3, "repair --host"}, "pid": {1, "repair    bind"}}},
	} {
		t.Run(s.name, func(t *testing.T) {
			host.NeedContainers(t, "crun")
			h := host.NewHost(t)
			s.make(t, h)
			c := host.StartPlain(t, h, "crun")
			before := host.Tree(h)
			for name, hook := range map[string]func(args ...string) host.Result{
				"inside": func(args ...string) host.Result { return c.Exec(append([]string{host.HookIn}, args...)...) },
				"pid": func(args ...string) host.Result {
					return h.Do(append([]string{host.HookOn(), args[0], "--pid", fmt.Sprint(c.Pid)}, args[1:]...)...)
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
				all := []string{"/dev", "/dev/log", "syslog()", "repair"}
				if want.code == 3 { // a refusal says what to do instead
					all = append(all, "hint")
				}
				if !slices.Equal(labels, all) {
					t.Errorf("%s: check's lines are for %q, want %q", name, labels, all)
				}
				j := hook("check", "--json")
				var facts map[string]any
				if err := json.Unmarshal([]byte(j.Out), &facts); err != nil || len(facts) == 0 || j.Code != want.code {
					t.Errorf("%s: check --json: %+v, %v", name, j, err)
				}
			}
			host.ExpectNew(t, h, before)
			c.Stop()
		})
	}
}

// --root works on a directory that is not the root of any process.
func TestRepairRoot(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	root := filepath.Join(t.TempDir(), "root")
	host.NewRootfs(t, root)
	if r := h.Do(host.HookOn(), "check", "--root", root); r.Code != 1 {
		t.Errorf("check: %+v", r)
	}
	if r := h.Do(host.HookOn(), "repair", "--root", root, "--receiver", "none"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	if to, err := os.Readlink(filepath.Join(root, "dev/log")); err != nil || to != "/run/devlog/log" {
		t.Errorf("/dev/log points to %q, %v", to, err)
	}
	// A receiver runs until it is ended.
	if r := h.Do(host.HookOn(), "repair", "--root", root, "--name", "plain"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	if len(h.Receivers()) != 1 {
		t.Errorf("receivers: %q", h.Processes())
	}
	if r := h.Do(host.HookOn(), "undo", "--root", root); r.Code != 0 {
		t.Fatalf("undo: %+v", r)
	}
	host.ExpectEmpty(t, filepath.Join(root, "dev"))
	host.ExpectEmpty(t, filepath.Join(root, "run"))
}
