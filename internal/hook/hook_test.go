package hook

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestParseStage(t *testing.T) {
	for name, want := range map[string]string{
		"prestart": "", "createRuntime": "", "createContainer": "", "startContainer": "", "poststart": "", "poststop": "",
		"": "--stage is missing; hint: set it to one of prestart, ", "createruntime": "want one of prestart, createRuntime, ", "x": "unknown stage \"x\"",
	} {
		s, err := ParseStage(name)
		switch {
		case want == "" && (err != nil || string(s) != name):
			t.Errorf("ParseStage(%q) = %q, %v", name, s, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("ParseStage(%q): %v, want %q", name, err, want)
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
	stopped := state(`{"id":"c1","status":"stopped","bundle":"BUNDLE"}`)
	own := map[string]string{"a": "b"}
	full := Container{ID: "c1", PID: 42, Rootfs: bundle + "/rootfs", Annotations: own}
	for _, tt := range []struct {
		name          string
		stage         Stage
		state, config string
		want          Container
		err           string
	}{
		{"good", Prestart, good, rootfs, full, ""},
		{"status of a newer specification", Poststart, strings.Replace(good, "creating", "frozen", 1), rootfs, full, ""},
		{"absolute root", CreateRuntime, good, `{"root":{"path":"/var/lib/x"}}`, Container{"c1", 42, "/var/lib/x", own, nil, ""}, ""},
		{"host name", CreateRuntime, good, `{"root":{"path":"/var/lib/x"},"hostname":"web"}`, Container{"c1", 42, "/var/lib/x", own, nil, "web"}, ""},
		{"annotations of the configuration", CreateRuntime, good,
			`{"root":{"path":"rootfs"},"annotations":{"c":"d"},"process":{"env":["X=1"]}}`,
			Container{"c1", 42, bundle + "/rootfs", map[string]string{"c": "d"}, []string{"X=1"}, ""}, ""},
		{"in the container", CreateContainer, strings.Replace(good, "42", "1", 1), rootfs, Container{"c1", 0, bundle + "/rootfs", own, nil, ""}, ""},
		{"in the container, another runtime", CreateContainer, strings.Replace(good, "42", "0", 1), rootfs, Container{"c1", 0, bundle + "/rootfs", own, nil, ""}, ""},
		{"in the container's root", StartContainer, `{"id":"c1","pid":0,"bundle":"/"}`, rootfs, Container{ID: "c1"}, ""},
		{"in the container's root, no bundle", StartContainer, `{"id":"c1"}`, rootfs, Container{ID: "c1"}, ""},
		{"stopped", Poststop, stopped, rootfs, Container{ID: "c1", Rootfs: bundle + "/rootfs"}, ""},
		{"stopped, pid 0", Poststop, strings.Replace(good, "42", "0", 1), rootfs, Container{"c1", 0, bundle + "/rootfs", own, nil, ""}, ""},
		{"stopped, no configuration", Poststop, `{"id":"c1","bundle":"/nowhere"}`, rootfs, Container{ID: "c1"}, ""},
		{"stopped, configuration is not JSON", Poststop, stopped, `{`, Container{ID: "c1"}, ""},
		{"empty", Prestart, "", rootfs, Container{}, "it is empty"},
		{"truncated", Prestart, good[:40], rootfs, Container{}, "not valid JSON"},
		{"not JSON", StartContainer, "hello", rootfs, Container{}, "not valid JSON"},
		{"huge", Poststop, `{"id":"` + strings.Repeat("a", maxState) + `"}`, rootfs, Container{}, "more than"},
		{"no id", Prestart, state(`{"pid":42,"bundle":"BUNDLE"}`), rootfs, Container{}, "bad id"},
		{"id with slash", Poststop, state(`{"id":"../x","pid":42,"bundle":"BUNDLE"}`), rootfs, Container{}, "bad id"},
		{"id ..", StartContainer, state(`{"id":"..","pid":42,"bundle":"BUNDLE"}`), rootfs, Container{}, "bad id"},
		{"no pid", Prestart, state(`{"id":"c1","bundle":"BUNDLE"}`), rootfs, Container{}, "such as createContainer"},
		{"negative pid", Poststart, state(`{"id":"c1","pid":-1,"bundle":"BUNDLE"}`), rootfs, Container{}, "pid is -1"},
		{"pid of another type", Prestart, state(`{"id":"c1","pid":"42","bundle":"BUNDLE"}`), rootfs, Container{}, "not valid JSON"},
		{"relative bundle", CreateContainer, `{"id":"c1","pid":42,"bundle":"x"}`, rootfs, Container{}, "absolute path"},
		{"no configuration", Prestart, `{"id":"c1","pid":42,"bundle":"/nowhere"}`, rootfs, Container{}, "/nowhere/config.json"},
		{"no root", CreateContainer, good, `{}`, Container{}, "root.path is missing"},
		{"configuration is not JSON", Prestart, good, `{`, Container{}, "config.json: not valid JSON"},
		{"huge configuration", Prestart, good, strings.Repeat(" ", maxConfig) + rootfs, Container{}, "config.json has more than"},
		{"deep configuration", Prestart, good, `{"a":` + strings.Repeat("[", maxConfig/2), Container{}, "config.json: not valid JSON"},
		{"deep state", Poststop, `{"a":` + strings.Repeat("[", maxState/2), rootfs, Container{}, "not valid JSON"},
	} {
		config(tt.config)
		c, err := ReadOCI(strings.NewReader(tt.state), tt.stage)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want one line with %q", tt.name, err, tt.err)
			}
			// The ID is known as soon as it can be read: failures are noted under it.
			if strings.Contains(tt.state, `"id":"c1"`) && strings.HasSuffix(tt.state, "}") {
				tt.want.ID = "c1"
			}
		} else if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(c, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, c, tt.want)
		}
	}
}

// A bundle that is never completed does not delay the runtime.
func TestConfigIsNoFile(t *testing.T) {
	bundle := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(bundle, "config.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	state := `{"id":"c1","pid":42,"bundle":"` + bundle + `"}`
	if _, err := ReadOCI(strings.NewReader(state), Prestart); err == nil || !strings.Contains(err.Error(), "config.json is not a regular file") {
		t.Errorf("got %v", err)
	}
}

// endless is a standard input without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 4*maxState {
		return 0, errors.New("read on")
	}
	return copy(p, strings.Repeat(" ", len(p))), nil
}

// Of a state without an end no more is read than one can have.
func TestReadOCIEndless(t *testing.T) {
	if _, err := ReadOCI(&endless{}, Prestart); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func TestParseLXC(t *testing.T) {
	env := func(more ...string) map[string]string {
		m := map[string]string{"LXC_NAME": "c1"}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want LXC
		ok   bool
	}{
		{"version 0", []string{"c1", "lxc", "start"}, env(), LXC{Name: "c1", Type: "start"}, true},
		{"version 1", nil, env("LXC_HOOK_TYPE", "start"), LXC{Name: "c1", Type: "start"}, true},
		{"start-host", []string{"c1", "lxc", "start-host"}, env("LXC_PID", "42", "LXC_ROOTFS_PATH", "/c1"), LXC{"c1", "start-host", 42, "/c1"}, true},
		{"post-stop", nil, env("LXC_HOOK_TYPE", "post-stop", "LXC_ROOTFS_PATH", "dir:/c1"), LXC{"c1", "post-stop", 0, "/c1"}, true},
		{"no directory", nil, env("LXC_HOOK_TYPE", "post-stop", "LXC_ROOTFS_PATH", "overlay:/a:/b"), LXC{"c1", "post-stop", 0, ""}, true},
		{"a bad pid", nil, env("LXC_HOOK_TYPE", "start-host", "LXC_PID", "-3"), LXC{Name: "c1", Type: "start-host"}, true},
		{"typed", []string{"repair"}, env("LXC_HOOK_TYPE", "start"), LXC{}, false},
		{"typed, alike", []string{"c1", "lxc", "start"}, nil, LXC{}, false},
		{"nothing", nil, nil, LXC{}, false},
	} {
		got, ok := ParseLXC(tt.args, func(k string) string { return tt.env[k] })
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: ParseLXC = %+v, %t; want %+v, %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
	for _, tt := range []struct {
		call LXC
		ok   bool
	}{
		{LXC{Name: "c1", Type: "start"}, true},
		{LXC{Name: "c1", Type: "start-host", PID: 42}, true},
		{LXC{Name: "c1", Type: "start-host"}, false},
		{LXC{Name: "c1", Type: "post-stop"}, true},
		{LXC{Name: "c1", Type: "pre-start"}, false},
		{LXC{Name: "", Type: "start"}, false},
		{LXC{Name: "a/b", Type: "start"}, false},
	} {
		if err := tt.call.Check(); (err == nil) != tt.ok {
			t.Errorf("%+v.Check() = %v", tt.call, err)
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
		"0::/system.slice/web.service/libpod-payload-" + id:                   id,
		"0::/system.slice/web.service/libpod-payload-" + id + "/init.scope":   id,
		"0::/user.slice/app.slice/web.service/libpod-payload-" + id + "/x/y":  id,
		"0::/machine.slice/libpod-conmon-" + id + ".scope":                    id,
		"0::/machine.slice/libpod-conmon-" + id + ".scope/supervisor":         id,
		"0::/kubepods.slice/crio-conmon-" + id + ".scope":                     id,
		"0::/kubepods/burstable/pod1-2/crio-" + id:                            id,
		"0::/kubepods/burstable/pod1-2/crio-conmon-" + id:                     id,
		"0::/system.slice/nerdctl-" + id + ".scope":                           id,
		"0::/kubepods/burstable/pod1-2/" + id:                                 id,
		"0::/kubepods/pod1-2/" + id + "/inner":                                id,
		"0::/kubelet/kubepods/besteffort/pod1-2/" + id + "/libpod-payload-me": id,
		"0::/kubepods/burstable/pod1-2":                                       "",
		"0::/kubepods/burstable":                                              "",
		"0::/other/burstable/pod1-2/" + id:                                    "",
		"0::/lxc/conmon-web":                                                  "conmon-web",
		"0::/lxc/libpod-web":                                                  "libpod-web",
		`0::/machine.slice/machine-web\x2d1.scope/payload/init.scope`:         "web-1",
		"0::/machine.slice/systemd-nspawn@web.service/payload":                "web",
		`0::/machine.slice/machine-a\x2.scope`:                                `a\x2`,
		"0::/machine.slice/machine-a-b.scope":                                 "",
		"0::/libpod_parent/conmon":                                            "",
		"0::/system.slice/web.service/libpod-payload-":                        "",
		"0::/init.scope\n3:pids:/system.slice/crun-abc.scope\nx:y":            "abc",
	} {
		if got := NameFromCgroup(text); got != want {
			t.Errorf("NameFromCgroup(%q) = %q, want %q", text, got, want)
		}
	}
}

// FuzzParseState: whatever a runtime writes, an accepted state is one that can
// be used in paths, and an error is one line.
func FuzzParseState(f *testing.F) {
	f.Add(`{"id":"c1","pid":42,"bundle":"/b"}`, "prestart")
	f.Add(`{"id":"..","pid":42,"bundle":"/b"}`, "poststop")
	f.Add(`{"id":"a\u0000b","pid":1e3,"bundle":""}`, "startContainer")
	f.Add("", "createContainer")
	f.Add(`{"id":"0"}`, "\n")
	f.Fuzz(func(t *testing.T, text, name string) {
		stage, err := ParseStage(name)
		var s specs.State
		if err == nil {
			s, err = parseState(strings.NewReader(text), stage)
		}
		if err == nil && (s.ID != filepath.Base(s.ID) || s.ID == "." || s.ID == "..") {
			t.Errorf("accepted %+v", s)
		}
		if err == nil && stage == Prestart && (s.Pid < 1 || !filepath.IsAbs(s.Bundle)) {
			t.Errorf("accepted %+v", s)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %q", err)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add(`{"root":{"path":"rootfs"}}`)
	f.Add(`{"root":null,"annotations":{"devlog":"off"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parseConfig([]byte(text)); err == nil && c.Root.Path == "" {
			t.Errorf("accepted an empty path in %q", text)
		}
	})
}

func FuzzNameFromCgroup(f *testing.F) {
	f.Add("0::/lxc.payload.web/init.scope")
	f.Add("1:a:/../..\n::")
	f.Add("0::/system.slice/web.service/libpod-payload-0123/x")
	f.Add("0::/kubepods/burstable/pod1-2/crio-conmon-0123")
	f.Fuzz(func(t *testing.T, text string) {
		if name := NameFromCgroup(text); name != "" && CheckName(name) != nil {
			t.Errorf("NameFromCgroup(%q) = %q, which is no name", text, name)
		}
	})
}
