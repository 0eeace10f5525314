package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseStage(t *testing.T) {
	for name, ok := range map[string]bool{
		"prestart": true, "createRuntime": true, "": false, "poststop": false, "createruntime": false, "x": false,
	} {
		if s, err := ParseStage(name); (err == nil) != ok || ok && string(s) != name {
			t.Errorf("ParseStage(%q) = %q, %v", name, s, err)
		}
	}
}

func TestReadOCI(t *testing.T) {
	bundle := t.TempDir()
	config := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rootfs = `{"ociVersion":"1.0.2","root":{"path":"rootfs"},"unknown":[1]}`
	state := func(s string) string { return strings.ReplaceAll(s, "BUNDLE", bundle) }
	good := state(`{"ociVersion":"1.2.0","id":"c1","status":"creating","pid":42,"bundle":"BUNDLE","annotations":{"a":"b"},"future":{}}`)
	for _, tt := range []struct {
		name, state, config, rootfs, err string
	}{
		{"good", good, rootfs, bundle + "/rootfs", ""},
		{"absolute root", good, `{"root":{"path":"/var/lib/x"}}`, "/var/lib/x", ""},
		{"empty", "", rootfs, "", "it is empty"},
		{"truncated", good[:40], rootfs, "", "no valid JSON"},
		{"not JSON", "hello", rootfs, "", "no valid JSON"},
		{"huge", `{"id":"` + strings.Repeat("a", maxState) + `"}`, rootfs, "", "more than"},
		{"no id", state(`{"pid":42,"bundle":"BUNDLE"}`), rootfs, "", "bad id"},
		{"id with slash", state(`{"id":"../x","pid":42,"bundle":"BUNDLE"}`), rootfs, "", "bad id"},
		{"id ..", state(`{"id":"..","pid":42,"bundle":"BUNDLE"}`), rootfs, "", "bad id"},
		{"no pid", state(`{"id":"c1","bundle":"BUNDLE"}`), rootfs, "", "pid is 0"},
		{"negative pid", state(`{"id":"c1","pid":-1,"bundle":"BUNDLE"}`), rootfs, "", "pid is -1"},
		{"pid of another type", state(`{"id":"c1","pid":"42","bundle":"BUNDLE"}`), rootfs, "", "no valid JSON"},
		{"relative bundle", `{"id":"c1","pid":42,"bundle":"x"}`, rootfs, "", "absolute path"},
		{"no configuration", `{"id":"c1","pid":42,"bundle":"/nowhere"}`, rootfs, "", "/nowhere/config.json"},
		{"no root", good, `{}`, "", "root.path is missing"},
		{"configuration is not JSON", good, `{`, "", "config.json: no valid JSON"},
	} {
		config(tt.config)
		c, err := ReadOCI(strings.NewReader(tt.state))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want one line with %q", tt.name, err, tt.err)
			}
			// The ID is known as soon as it can be read: failures are noted under it.
			known := Container{}
			if strings.Contains(tt.state, `"id":"c1"`) && strings.HasSuffix(tt.state, "}") {
				known.ID = "c1"
			}
			if c != known {
				t.Errorf("%s: with the error %+v, want %+v", tt.name, c, known)
			}
			continue
		}
		if want := (Container{ID: "c1", PID: 42, Rootfs: tt.rootfs}); err != nil || c != want {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, c, err, want)
		}
	}
}

func TestParseLXC(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want LXC
		ok   bool
	}{
		{"version 0", []string{"c1", "lxc", "start"}, map[string]string{"LXC_NAME": "c1"}, LXC{"c1", "start"}, true},
		{"version 1", nil, map[string]string{"LXC_NAME": "c1", "LXC_HOOK_TYPE": "start"}, LXC{"c1", "start"}, true},
		{"typed", []string{"repair"}, map[string]string{"LXC_NAME": "c1", "LXC_HOOK_TYPE": "start"}, LXC{}, false},
		{"typed, alike", []string{"c1", "lxc", "start"}, nil, LXC{}, false},
		{"nothing", nil, nil, LXC{}, false},
	} {
		got, ok := ParseLXC(tt.args, func(k string) string { return tt.env[k] })
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: ParseLXC = %+v, %t; want %+v, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	for call, ok := range map[LXC]bool{{"c1", "start"}: true, {"c1", "pre-start"}: false, {"", "start"}: false, {"a/b", "start"}: false} {
		if err := call.Check(); (err == nil) != ok {
			t.Errorf("%+v.Check() = %v", call, err)
		}
	}
}

func TestNameFromCgroup(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for text, want := range map[string]string{
		"0::/lxc.payload.web/init.scope":                      "web",
		"0::/lxc.payload.web":                                 "web",
		"0::/system.slice/docker-" + id + ".scope":            id,
		"0::/machine.slice/libpod-" + id + ".scope/container": id,
		"0::/libpod_parent/libpod-" + id:                      id,
		"0::/kubepods.slice/cri-containerd-" + id + ".scope":  id,
		"0::/kubepods.slice/crio-" + id + ".scope":            id,
		"12:cpu:/lxc/web\n1:name=systemd:/lxc/web\n0::/":      "web",
		"5:devices:/docker/" + id:                             id,
		"0::/user.slice/user-0.slice/session-1.scope":         "",
		"0::/":                               "",
		"0::/lxc.payload.":                   "",
		"0::/lxc.payload.web/lxc.payload.db": "web",
		"garbage":                            "",
		"":                                   "",
		"0::/system.slice/ssh.service":       "",
		"0::/lxc.payload.a b":                "",
		"0::/init.scope\n3:pids:/system.slice/crun-abc.scope\nx:y": "abc",
	} {
		if got := NameFromCgroup(text); got != want {
			t.Errorf("NameFromCgroup(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzParseState: whatever a runtime writes, an accepted state is one that can
// be used in paths, and an error is one line.
func FuzzParseState(f *testing.F) {
	f.Add(`{"id":"c1","pid":42,"bundle":"/b"}`)
	f.Add(`{"id":"..","pid":42,"bundle":"/b"}`)
	f.Add(`{"id":"a\u0000b","pid":1e3,"bundle":""}`)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseState(strings.NewReader(text))
		if err == nil && (s.ID != filepath.Base(s.ID) || s.ID == "." || s.ID == ".." || s.Pid < 1 || !filepath.IsAbs(s.Bundle)) {
			t.Errorf("accepted %+v", s)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %q", err)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add(`{"root":{"path":"rootfs"}}`)
	f.Add(`{"root":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		if root, err := parseConfig(strings.NewReader(text)); err == nil && root == "" {
			t.Errorf("accepted an empty path in %q", text)
		}
	})
}

func FuzzNameFromCgroup(f *testing.F) {
	f.Add("0::/lxc.payload.web/init.scope")
	f.Add("1:a:/../..\n::")
	f.Fuzz(func(t *testing.T, text string) {
		if name := NameFromCgroup(text); name != "" && CheckName(name) != nil {
			t.Errorf("NameFromCgroup(%q) = %q, which is no name", text, name)
		}
	})
}
