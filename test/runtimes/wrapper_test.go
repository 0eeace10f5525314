package runtimes

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// devlog-runtime in front of each runtime, which gets the same configuration with devlog's hook.
func TestWrapper(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			before := host.Tree(h)
			c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+"exit 6")
			c.Config["future"] = map[string]any{"list": []any{1.5, "x", nil}}
			c.Config["hooks"] = map[string]any{"poststop": []any{map[string]any{"path": "/bin/true"}}}
			c.Write()
			config, _ := c.ReadConfig()
			for range 2 {
				if r := h.Do(c.Wrapped("run")...); r.Code != 6 {
					t.Fatalf("run: %+v", r)
				}
				after, hooks := c.ReadConfig()
				if !reflect.DeepEqual(after, config) {
					t.Errorf("the configuration was\n%v\nand is\n%v", config, after)
				}
				if n := len(hooks["prestart"].([]any)); n != 1 || len(hooks["poststop"].([]any)) != 1 {
					t.Errorf("%d hooks of ours: %v", n, hooks)
				}
			}
			host.ExpectReceiversEnd(t, h)
			if text, err := os.ReadFile(c.Log()); err != nil || strings.Count(string(text), ": glibc-a\n") != 2 {
				t.Errorf("the log has %q, %v", text, err)
			}
			host.ExpectNew(t, h, before, host.OCILeaves("c1")...)
		})
	}
}

// create, start and delete work through devlog-runtime too, with the administrator's settings for the
// hook.
func TestWrapperCreate(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", host.ThreeClients("a")+host.Hold)
	c.Write()
	create := append([]string{"env", "DEVLOG_RULE=*.* /var/log/devlog/mine"}, c.Wrapped("create")...)
	if r := h.Detached(create...); r.Code != 0 {
		t.Fatalf("create: %+v", r)
	}
	h.Must(c.Wrapped("start")...)
	host.WantOnce(t, h.Path("/var/log/devlog/mine"), host.ThreeTexts("a")...)
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	h.Must(c.Wrapped("delete")...)
	host.ExpectReceiversEnd(t, h)
}

// echoRuntime plays a runtime and prints what it was started with.
const echoRuntime = `#!/bin/sh
echo "$0"
for a; do echo "[$a]"; done
echo "$MARK $(ulimit -Sn) ignores $(sed -n 's/^SigIgn:.*\(.\)$/\1/p' /proc/$$/status)"
for n in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo "fd $n"; done
exit 42
`

// The real runtime gets exactly what devlog-runtime got, whatever is wrong with the bundle or with
// devlog.
func TestWrapperPassesOn(t *testing.T) {
	host.Need(t, "root")
	h := host.NewHost(t)
	dir := t.TempDir()
	runtime := filepath.Join(dir, "echo-runtime")
	host.Check(t, os.WriteFile(runtime, []byte(echoRuntime), 0o755))
	lonely := filepath.Join(dir, "lonely") // devlog-runtime without devlog-hook
	host.Check(t, os.Mkdir(lonely, 0o755))
	host.Check(t, host.Command("cp", filepath.Join(host.BinDir, "devlog-runtime"), lonely))
	call := func(program string, args ...string) host.Result {
		t.Helper()
		// Descriptor 7 plays a passed one (--preserve-fds).
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
		host.Check(t, os.Mkdir(at, 0o755))
		host.Check(t, os.WriteFile(filepath.Join(at, "config.json"), []byte(config), 0o644))
		return at
	}
	empty := filepath.Join(dir, "empty")
	host.Check(t, os.Mkdir(empty, 0o755))
	full := bundle("full", "")
	h.Must("mount", "-n", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full)
	host.Check(t, os.WriteFile(h.Path(full+"/config.json"), []byte(`{"a":"`+strings.Repeat("x", 3900)+`"}`), 0o644))
	readOnly := bundle("read-only", "{}")
	h.Must("mount", "-n", "--bind", readOnly, readOnly)
	h.Must("mount", "-n", "-o", "remount,ro,bind", readOnly)
	for _, tt := range []struct {
		name, program string
		args          []string
		says          string // in the line on standard error; "" for none
	}{
		{"state", host.BinDir, []string{"--root", "/r", "state", "c1"}, ""},
		{"version", host.BinDir, []string{"--version"}, ""},
		{"odd arguments", host.BinDir, []string{"exec", "c1", "a b", "", "*", "-b", "\n"}, ""},
		{"nothing", host.BinDir, nil, ""},
		{"good", host.BinDir, []string{"create", "--bundle", bundle("good", "{}"), "--preserve-fds", "5", "c1"}, ""},
		{"off", host.BinDir, []string{"create", "-b", bundle("off", `{"annotations":{"devlog":"off"}}`), "c1"}, ""},
		{"no configuration", host.BinDir, []string{"create", "--bundle", empty, "c1"}, "config.json: no such file"},
		{"no bundle", host.BinDir, []string{"create", "--bundle", dir + "/no\nwhere", "c1"}, "no such file"},
		{"garbage", host.BinDir, []string{"create", "--bundle", bundle("garbage", strings.Repeat("\x00garbage\n", 100000)), "c1"}, "not valid JSON"},
		{"full disk", host.BinDir, []string{"create", "--bundle", full, "c1"}, "no space left"},
		{"read-only", host.BinDir, []string{"create", "--bundle", readOnly, "c1"}, "read-only"},
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
		"itself":     {"env", "DEVLOG_RUNTIME=" + host.BinDir + "/devlog-runtime", host.BinDir + "/devlog-runtime", "state", "c1"},
		"no runtime": {"env", "DEVLOG_RUNTIME=no-such-runtime", host.BinDir + "/devlog-runtime", "state", "c1"},
	} {
		if r := h.Do(line...); r.Code != 127 || strings.Count(r.ErrOut, "\n") != 1 || !strings.Contains(r.ErrOut, "DEVLOG_RUNTIME") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
