package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"devlog/internal/launch"
	"devlog/internal/plan"
)

const ownLogs = "/var/log/devlog/c1"

func TestReadAnnotations(t *testing.T) {
	host := bounds{dir: ownLogs, shared: true}
	trusted := bounds{all: true, dir: ownLogs, shared: true}
	entered, inside := bounds{shared: true}, bounds{}
	rules := func(text string) map[string]string { return map[string]string{"devlog.dev/rules": text} }
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	flag := func(name, value string) settings { return settings{flags: map[string]string{name: value}} }
	for _, tt := range []struct {
		name  string
		given map[string]string
		in    bounds
		want  settings
		err   string // "2 " or "3 " and what the error says
	}{
		{"none", nil, host, settings{}, ""},
		{"others'", one("io.podman.x", "off"), host, settings{}, ""},
		{"others' that begin like ours", map[string]string{"devlog.example/log": "perhaps", "devlog.dev.example/rules": "x"}, host, settings{}, ""},
		{"old", one("devlog", "off"), host, settings{off: true, old: "devlog"}, ""},
		{"old, with a value", one("devlog.strategy", "bind"), host, settings{flags: map[string]string{"strategy": "bind"}, old: "devlog.strategy"}, ""},
		{"old, wrong", one("devlog.strategy", "magic"), host, settings{}, `2 annotation devlog.strategy: strategy "magic"`},
		{"old, of another version", one("devlog.colour", "red"), host, settings{unknown: []string{"devlog.colour"}}, ""},
		{"for this container", map[string]string{"devlog.dev/log.c": "off", "devlog.dev/log": "on"}, host, settings{off: true}, ""},
		{"for another container", one("devlog.dev/log.d", "perhaps"), host, settings{}, ""},
		{"rate", one("devlog.dev/rate", "100/s"), host, flag("rate", "100/s"), ""},
		{"no rate", one("devlog.dev/rate", "many"), host, settings{}, "2 annotation devlog.dev/rate"},
		{"overflow", one("devlog.dev/overflow", "drop"), host, flag("overflow", "drop"), ""},
		{"no overflow", one("devlog.dev/overflow", "burn"), host, settings{}, "2 annotation devlog.dev/overflow"},
		{"off", one("devlog.dev/log", "off"), host, settings{off: true}, ""},
		{"on", one("devlog.dev/log", "on"), host, settings{}, ""},
		{"perhaps", one("devlog.dev/log", "perhaps"), host, settings{}, `2 annotation devlog.dev/log: "perhaps"`},
		{"of another version", one("devlog.dev/colour", "red"), host, settings{unknown: []string{"devlog.dev/colour"}}, ""},
		{"rules", rules("*.info " + ownLogs + "/info\n\n*.* -" + ownLogs + "/a/b\n"), host,
			settings{rules: []string{"*.info " + ownLogs + "/info", "*.* -" + ownLogs + "/a/b"}, files: []string{ownLogs + "/info", ownLogs + "/a/b"}}, ""},
		{"its own output", rules("*.* container-stdout"), host, settings{rules: []string{"*.* container-stdout"}}, ""},
		{"pipe", rules("*.* |" + ownLogs + "/pipe"), host, settings{}, "3 "},
		{"not a rule", rules("nonsense"), host, settings{}, `2 annotation devlog.dev/rules: rule "nonsense"`},
		{"file elsewhere", rules("*.* /etc/passwd"), host, settings{}, "3 annotation devlog.dev/rules: rule"},
		{"file of another", rules("*.* /var/log/devlog/c2/messages"), host, settings{}, "3 "},
		{"file with a longer name", rules("*.* /var/log/devlog/c11/messages"), host, settings{}, "3 "},
		{"the directory itself", rules("*.* " + ownLogs + "/."), host, settings{}, "3 "},
		{"up", rules("*.* " + ownLogs + "/../c2/messages"), host, settings{}, "3 "},
		{"kernel", rules("*.* /dev/kmsg"), host, settings{}, "3 "},
		{"file elsewhere, allowed", rules("*.* /etc/x"), trusted, settings{rules: []string{"*.* /etc/x"}, files: []string{"/etc/x"}}, ""},
		{"kernel, allowed", rules("*.* /dev/kmsg"), trusted, settings{rules: []string{"*.* /dev/kmsg"}}, ""},
		{"file in the container", rules("*.* /var/log/x"), entered, settings{rules: []string{"*.* /var/log/x"}, files: []string{"/var/log/x"}}, ""},
		{"strategy", one("devlog.dev/strategy", "bind"), host, flag("strategy", "bind"), ""},
		{"no strategy", one("devlog.dev/strategy", "magic"), host, settings{}, `2 annotation devlog.dev/strategy: strategy "magic"`},
		{"strategy for all", one("devlog.dev/strategy", "symlink"), host, settings{}, "3 "},
		{"strategy for all, entered", one("devlog.dev/strategy", "symlink"), entered, settings{}, "3 "},
		{"strategy for all, inside", one("devlog.dev/strategy", "symlink"), inside, flag("strategy", "symlink"), ""},
		{"strategy for all, allowed", one("devlog.dev/strategy", "symlink"), trusted, flag("strategy", "symlink"), ""},
		{"socket", one("devlog.dev/socket", "/run/own/log"), host, flag("socket", "/run/own/log"), ""},
		{"socket in /dev", one("devlog.dev/socket", "/dev/x"), host, settings{}, "2 annotation devlog.dev/socket"},
		{"receiver", one("devlog.dev/receiver", "none"), host, flag("receiver", "none"), ""},
		{"a program", one("devlog.dev/receiver", "/tmp/evil"), host, settings{}, "3 annotation devlog.dev/receiver"},
		{"a program, inside", one("devlog.dev/receiver", "/tmp/evil"), inside, settings{}, "3 "},
		{"a program, allowed", one("devlog.dev/receiver", "/opt/x"), trusted, flag("receiver", "/opt/x"), ""},
		{"a supervisor", one("devlog.dev/supervise", "systemd"), host, settings{}, "3 annotation devlog.dev/supervise: a service of the host's"},
		{"none, too", one("devlog.dev/supervise", "none"), host, settings{}, "3 "},
		{"a supervisor, allowed", one("devlog.dev/supervise", "systemd"), trusted, flag("supervise", "systemd"), ""},
		{"no supervisor", one("devlog.dev/supervise", "magic"), trusted, settings{}, `2 annotation devlog.dev/supervise: supervisor "magic"`},
	} {
		got, err := readAnnotations(tt.given, "c", tt.in)
		if tt.err == "" {
			if tt.want.flags == nil {
				tt.want.flags = map[string]string{}
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
			}
			continue
		}
		code, says, _ := strings.Cut(tt.err, " ")
		if err == nil || code != string('0'+rune(failed(err))) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want exit code %s and %q", tt.name, err, code, says)
		}
	}
}

// FuzzReadAnnotations: whatever they say, a file on the host is below the
// container's own directory.
func FuzzReadAnnotations(f *testing.F) {
	f.Add("devlog.dev/rules", "*.* "+ownLogs+"/x")
	f.Add("devlog.dev/rules", "*.* -"+ownLogs+"/./../x\n*.crit /dev/kmsg")
	f.Add("devlog.dev/rules", "*.* "+ownLogs+"/..x")
	f.Add("devlog.dev/socket", "/run/x/../log")
	f.Fuzz(func(t *testing.T, name, value string) {
		s, err := readAnnotations(map[string]string{name: value}, "c1", bounds{dir: ownLogs, shared: true})
		if err != nil {
			return
		}
		for _, file := range s.files {
			if in, err := filepath.Rel(ownLogs, file); err != nil || in == "." || !filepath.IsLocal(in) {
				t.Errorf("accepted %q", file)
			}
		}
		if r := s.flags["receiver"]; r != "" && r != launch.NoReceiver || s.flags["strategy"] == string(plan.Symlink) {
			t.Errorf("accepted %+v", s)
		}
	})
}

func TestWithoutLinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c1")
	if err := withoutLinks(dir, dir+"/a/messages"); err != nil {
		t.Errorf("where there is nothing yet: %v", err)
	}
	for _, err := range []error{os.MkdirAll(dir+"/a", 0o755), os.WriteFile(dir+"/a/messages", nil, 0o600),
		os.Symlink("/etc", dir+"/b"), os.Symlink("/etc/passwd", dir+"/c"), os.Symlink(dir, dir+"-link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := withoutLinks(dir, dir+"/a/messages"); err != nil {
		t.Errorf("a file: %v", err)
	}
	for _, in := range [][2]string{{dir, "/b/passwd"}, {dir, "/c"}, {dir + "-link", "/a/messages"}, {dir + "/a/messages", "/x"}} {
		if err := withoutLinks(in[0], in[0]+in[1]); !errors.As(err, new(*plan.Refusal)) && failed(err) != exitFailed || err == nil {
			t.Errorf("%s: %v, want a refusal", in, err)
		}
	}
}

// TestAnnotationsAndFlags: what the hook's own flags and variables say comes
// first.
func TestAnnotationsAndFlags(t *testing.T) {
	for _, tt := range []struct {
		flags, env string
		annotation string // devlog.dev/socket's value
		says       string
	}{
		{"", "", "relative", "annotation devlog.dev/socket"},
		{"--annotations none", "", "relative", "/nowhere/x"},
		{"--annotations some", "", "/run/x/log", "--annotations"},
		{"", "DEVLOG_ANNOTATIONS=none", "relative", "/nowhere/x"},
		{"--socket=/dev/x", "", "/run/x/log", "--socket /dev/x"},
		{"", "DEVLOG_SOCKET=/dev/y", "/run/x/log", "--socket /dev/y"},
		{"", "", "/run/x/log", "/nowhere/x"},
	} {
		clean(t)
		bundle := t.TempDir()
		config := `{"root":{"path":"/nowhere/x"},"annotations":{"devlog.dev/socket":"` + tt.annotation + `"}}`
		if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(tt.env, "="); ok {
			t.Setenv(name, value)
		}
		// A stage at which nothing can be found in here.
		state := strings.NewReader(`{"id":"c1","pid":0,"bundle":"` + bundle + `"}`)
		var errs bytes.Buffer
		p := &program{stdin: state, stderr: &errs, logs: []string{t.TempDir()}}
		args := append([]string{"devlog-hook", "oci", "--stage", "createContainer"}, strings.Fields(tt.flags)...)
		if code := p.exit(p.run(args)); code == exitDone {
			t.Errorf("%s %s: exit code 0", tt.flags, tt.env)
		}
		oneLine(t, errs.String(), tt.says)
	}
}

func TestOwnEnv(t *testing.T) {
	containers := []string{"PATH=/bin", "DEVLOG_RECEIVER=/evil", "DEVLOG_NAME=x"}
	for env, ok := range map[string]bool{"PATH=/bin": true, "DEVLOG_RECEIVER=/usr/libexec/x": true, "DEVLOG_RECEIVER=/evil": false} {
		if err := ownEnv([]string{env}, containers); (err == nil) != ok {
			t.Errorf("ownEnv(%s): %v", env, err)
		}
	}
}
