package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// wrapped is a command line of the container's runtime with devlog-runtime in
// the runtime's place.
func (c *OCI) wrapped(command string) []string {
	line := c.Args(command)
	return append([]string{"env", "DEVLOG_RUNTIME=" + line[0], filepath.Join(binDir, "devlog-runtime")}, line[1:]...)
}

// readConfig is the bundle's config.json, and its hooks apart from it.
func (c *OCI) readConfig() (config, hooks map[string]any) {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Bundle, "config.json"))
	check(c.t, err)
	check(c.t, json.Unmarshal(text, &config))
	hooks, _ = config["hooks"].(map[string]any)
	delete(config, "hooks")
	return config, hooks
}

// devlog-runtime in front of each runtime, which gets the configuration as it
// was, and our hook.
func TestWrapper(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			needContainers(t, runtime)
			h := NewHost(t)
			before := hostTree(h)
			c := NewOCI(t, h, runtime, "c1", threeClients("a")+"exit 6")
			c.Config["future"] = map[string]any{"list": []any{1.5, "x", nil}}
			c.Config["hooks"] = map[string]any{"poststop": []any{map[string]any{"path": "/bin/true"}}}
			c.Write()
			config, _ := c.readConfig()
			for range 2 {
				if r := h.Do(c.wrapped("run")...); r.Code != 6 {
					t.Fatalf("run: %+v", r)
				}
				after, hooks := c.readConfig()
				if !reflect.DeepEqual(after, config) {
					t.Errorf("the configuration was\n%v\nand is\n%v", config, after)
				}
				if n := len(hooks["prestart"].([]any)); n != 1 || len(hooks["poststop"].([]any)) != 1 {
					t.Errorf("%d hooks of ours: %v", n, hooks)
				}
			}
			expectReceiversEnd(t, h)
			if text, err := os.ReadFile(c.Log()); err != nil || strings.Count(string(text), ": glibc-a\n") != 2 {
				t.Errorf("the log has %q, %v", text, err)
			}
			expectNew(t, h, before, ociLeaves("c1")...)
		})
	}
}

// create, start and delete go through devlog-runtime too, with what the
// administrator has set for the hook.
func TestWrapperCreate(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", threeClients("a")+hold)
	c.Write()
	create := append([]string{"env", "DEVLOG_RULE=*.* /var/log/devlog/mine"}, c.wrapped("create")...)
	if r := h.Detached(create...); r.Code != 0 {
		t.Fatalf("create: %+v", r)
	}
	h.Must(c.wrapped("start")...)
	wantOnce(t, h.Path("/var/log/devlog/mine"), threeTexts("a")...)
	release(t, c.Rootfs)
	c.WaitStopped()
	h.Must(c.wrapped("delete")...)
	expectReceiversEnd(t, h)
}

// echoRuntime stands in for a runtime and says what it was started with.
const echoRuntime = `#!/bin/sh
echo "$0"
for a; do echo "[$a]"; done
echo "$MARK $(ulimit -Sn) ignores $(sed -n 's/^SigIgn:.*\(.\)$/\1/p' /proc/$$/status)"
for n in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo "fd $n"; done
exit 42
`

// Everything that the real runtime is given is what devlog-runtime was given,
// whatever is wrong with the bundle or with devlog itself.
func TestWrapperPassesOn(t *testing.T) {
	need(t, "root")
	h := NewHost(t)
	dir := t.TempDir()
	runtime := filepath.Join(dir, "echo-runtime")
	check(t, os.WriteFile(runtime, []byte(echoRuntime), 0o755))
	lonely := filepath.Join(dir, "lonely") // devlog-runtime without devlog-hook
	check(t, os.Mkdir(lonely, 0o755))
	check(t, command("cp", filepath.Join(binDir, "devlog-runtime"), lonely))
	call := func(program string, args ...string) Result {
		t.Helper()
		// Descriptor 7 is one that a runtime is to keep (--preserve-fds).
		script := `ulimit -Sn 100; trap '' HUP; exec "$@" 7</dev/null`
		line := append([]string{"env", "MARK=mark", "DEVLOG_RUNTIME=" + runtime, "sh", "-c", script, "sh", program}, args...)
		return h.Do(line...)
	}
	real := call(runtime, "x")
	for _, want := range []string{"mark 100 ignores 1\n", "\nfd 7\n"} {
		if !strings.Contains(real.Out, want) {
			t.Fatalf("the runtime itself says %q, without %q", real.Out, want)
		}
	}
	bundle := func(name, config string) string {
		t.Helper()
		at := filepath.Join(dir, name)
		check(t, os.Mkdir(at, 0o755))
		check(t, os.WriteFile(filepath.Join(at, "config.json"), []byte(config), 0o644))
		return at
	}
	empty := filepath.Join(dir, "empty")
	check(t, os.Mkdir(empty, 0o755))
	full := bundle("full", "")
	h.Must("mount", "-n", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full)
	check(t, os.WriteFile(h.Path(full+"/config.json"), []byte(`{"a":"`+strings.Repeat("x", 3900)+`"}`), 0o644))
	readOnly := bundle("read-only", "{}")
	h.Must("mount", "-n", "--bind", readOnly, readOnly)
	h.Must("mount", "-n", "-o", "remount,ro,bind", readOnly)
	for _, tt := range []struct {
		name, program string
		args          []string
		says          string // in the line on standard error; "" is nothing
	}{
		{"state", binDir, []string{"--root", "/r", "state", "c1"}, ""},
		{"version", binDir, []string{"--version"}, ""},
		{"odd arguments", binDir, []string{"exec", "c1", "a b", "", "*", "-b", "\n"}, ""},
		{"nothing", binDir, nil, ""},
		{"good", binDir, []string{"create", "--bundle", bundle("good", "{}"), "--preserve-fds", "5", "c1"}, ""},
		{"off", binDir, []string{"create", "-b", bundle("off", `{"annotations":{"devlog":"off"}}`), "c1"}, ""},
		{"no configuration", binDir, []string{"create", "--bundle", empty, "c1"}, "config.json: no such file"},
		{"no bundle", binDir, []string{"create", "--bundle", dir + "/no\nwhere", "c1"}, "no such file"},
		{"garbage", binDir, []string{"create", "--bundle", bundle("garbage", strings.Repeat("\x00garbage\n", 100000)), "c1"}, "no valid JSON"},
		{"full disk", binDir, []string{"create", "--bundle", full, "c1"}, "no space left"},
		{"read-only", binDir, []string{"create", "--bundle", readOnly, "c1"}, "read-only"},
		{"no hook", lonely, []string{"create", "--bundle", bundle("lonely-bundle", "{}"), "c1"}, "install devlog-hook there"},
	} {
		before := h.Do("sh", "-c", "cat "+dir+"/*/config.json | cksum").Out
		r := call(filepath.Join(tt.program, "devlog-runtime"), tt.args...)
		want := call(runtime, tt.args...)
		if r.Code != 42 || r.Out != want.Out {
			t.Errorf("%s: %+v, want %+v", tt.name, r, want)
		}
		if tt.says == "" && r.ErrOut != "" || strings.Count(r.ErrOut, "\n") > 1 || !strings.Contains(r.ErrOut, tt.says) {
			t.Errorf("%s: it says %q, want one line with %q", tt.name, r.ErrOut, tt.says)
		}
		if same := h.Do("sh", "-c", "cat "+dir+"/*/config.json | cksum").Out == before; same == (tt.name == "good") {
			t.Errorf("%s: are the configurations as they were? %t", tt.name, same)
		}
	}
	if left := h.Tree(nil, dir); slices.ContainsFunc(left, func(l string) bool { return strings.Contains(l, "/.devlog-") }) {
		t.Errorf("left behind: %q", left)
	}
	for name, line := range map[string][]string{
		"itself":     {"env", "DEVLOG_RUNTIME=" + binDir + "/devlog-runtime", binDir + "/devlog-runtime", "state", "c1"},
		"no runtime": {"env", "DEVLOG_RUNTIME=no-such-runtime", binDir + "/devlog-runtime", "state", "c1"},
	} {
		if r := h.Do(line...); r.Code != 127 || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, "DEVLOG_RUNTIME") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
