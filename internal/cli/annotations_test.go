package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"devlog/internal/devlog"
)

const ownLogs = "/var/log/devlog/c1"

func TestReadAnnotations(t *testing.T) {
	host := bounds{dir: ownLogs, shared: true}
	trusted := bounds{all: true, dir: ownLogs, shared: true}
	entered, inside := bounds{shared: true}, bounds{}
	rules := func(text string) map[string]string { return map[string]string{"devlog.rules": text} }
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	for _, tt := range []struct {
		name  string
		given map[string]string
		in    bounds
		want  settings
		err   string // "2 " or "3 " and what the error says
	}{
		{"none", nil, host, settings{}, ""},
		{"others'", one("io.podman.x", "off"), host, settings{}, ""},
		{"off", one("devlog", "off"), host, settings{off: true}, ""},
		{"on", one("devlog", "on"), host, settings{}, ""},
		{"perhaps", one("devlog", "perhaps"), host, settings{}, `2 annotation devlog: "perhaps"`},
		{"of another version", one("devlog.colour", "red"), host, settings{unknown: []string{"devlog.colour"}}, ""},
		{"rules", rules("*.info " + ownLogs + "/info\n\n*.* -" + ownLogs + "/a/b\n"), host,
			settings{rules: []string{"*.info " + ownLogs + "/info", "*.* -" + ownLogs + "/a/b"}, files: []string{ownLogs + "/info", ownLogs + "/a/b"}}, ""},
		{"its own output", rules("*.* container-stdout"), host, settings{rules: []string{"*.* container-stdout"}}, ""},
		{"pipe", rules("*.* |" + ownLogs + "/pipe"), host, settings{}, "3 "},
		{"not a rule", rules("nonsense"), host, settings{}, `2 annotation devlog.rules: rule "nonsense"`},
		{"file elsewhere", rules("*.* /etc/passwd"), host, settings{}, "3 annotation devlog.rules: rule"},
		{"file of another", rules("*.* /var/log/devlog/c2/messages"), host, settings{}, "3 "},
		{"file with a longer name", rules("*.* /var/log/devlog/c11/messages"), host, settings{}, "3 "},
		{"the directory itself", rules("*.* " + ownLogs + "/."), host, settings{}, "3 "},
		{"up", rules("*.* " + ownLogs + "/../c2/messages"), host, settings{}, "3 "},
		{"kernel", rules("*.* /dev/kmsg"), host, settings{}, "3 "},
		{"file elsewhere, allowed", rules("*.* /etc/x"), trusted, settings{rules: []string{"*.* /etc/x"}, files: []string{"/etc/x"}}, ""},
		{"kernel, allowed", rules("*.* /dev/kmsg"), trusted, settings{rules: []string{"*.* /dev/kmsg"}}, ""},
		{"file in the container", rules("*.* /var/log/x"), entered, settings{rules: []string{"*.* /var/log/x"}, files: []string{"/var/log/x"}}, ""},
		{"strategy", one("devlog.strategy", "bind"), host, settings{strategy: "bind"}, ""},
		{"no strategy", one("devlog.strategy", "magic"), host, settings{}, `2 annotation devlog.strategy: strategy "magic"`},
		{"strategy for all", one("devlog.strategy", "symlink"), host, settings{}, "3 "},
		{"strategy for all, entered", one("devlog.strategy", "symlink"), entered, settings{}, "3 "},
		{"strategy for all, inside", one("devlog.strategy", "symlink"), inside, settings{strategy: "symlink"}, ""},
		{"strategy for all, allowed", one("devlog.strategy", "symlink"), trusted, settings{strategy: "symlink"}, ""},
		{"socket", one("devlog.socket", "/run/own/log"), host, settings{socket: "/run/own/log"}, ""},
		{"socket in /dev", one("devlog.socket", "/dev/x"), host, settings{}, "2 annotation devlog.socket"},
		{"receiver", one("devlog.receiver", "none"), host, settings{receiver: "none"}, ""},
		{"a program", one("devlog.receiver", "/tmp/evil"), host, settings{}, "3 annotation devlog.receiver"},
		{"a program, inside", one("devlog.receiver", "/tmp/evil"), inside, settings{}, "3 "},
		{"a program, allowed", one("devlog.receiver", "/opt/x"), trusted, settings{receiver: "/opt/x"}, ""},
		{"a supervisor", one("devlog.supervise", "systemd"), host, settings{}, "3 annotation devlog.supervise: a service of the host's"},
		{"none, too", one("devlog.supervise", "none"), host, settings{}, "3 "},
		{"a supervisor, allowed", one("devlog.supervise", "systemd"), trusted, settings{supervise: "systemd"}, ""},
		{"no supervisor", one("devlog.supervise", "magic"), trusted, settings{}, `2 annotation devlog.supervise: supervisor "magic"`},
	} {
		got, err := readAnnotations(tt.given, tt.in)
		if tt.err == "" {
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
	f.Add("devlog.rules", "*.* "+ownLogs+"/x")
	f.Add("devlog.rules", "*.* -"+ownLogs+"/./../x\n*.crit /dev/kmsg")
	f.Add("devlog.rules", "*.* "+ownLogs+"/..x")
	f.Add("devlog.socket", "/run/x/../log")
	f.Fuzz(func(t *testing.T, name, value string) {
		s, err := readAnnotations(map[string]string{name: value}, bounds{dir: ownLogs, shared: true})
		if err != nil {
			return
		}
		for _, file := range s.files {
			if in, err := filepath.Rel(ownLogs, file); err != nil || in == "." || !filepath.IsLocal(in) {
				t.Errorf("accepted %q", file)
			}
		}
		if s.receiver != "" && s.receiver != devlog.NoReceiver || s.strategy == string(devlog.Symlink) {
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
		if err := withoutLinks(in[0], in[0]+in[1]); !errors.As(err, new(*devlog.Refusal)) && failed(err) != exitFailed || err == nil {
			t.Errorf("%s: %v, want a refusal", in, err)
		}
	}
}

// TestAnnotationsAndFlags: what the hook's own flags and variables say comes
// first.
func TestAnnotationsAndFlags(t *testing.T) {
	for _, tt := range []struct {
		flags, env string
		annotation string // devlog.socket's value
		says       string
	}{
		{"", "", "relative", "annotation devlog.socket"},
		{"--annotations none", "", "relative", "/nowhere/x"},
		{"--annotations some", "", "/run/x/log", "--annotations"},
		{"", "DEVLOG_ANNOTATIONS=none", "relative", "/nowhere/x"},
		{"--socket=/dev/x", "", "/run/x/log", "--socket /dev/x"},
		{"", "DEVLOG_SOCKET=/dev/y", "/run/x/log", "--socket /dev/y"},
		{"", "", "/run/x/log", "/nowhere/x"},
	} {
		clean(t)
		bundle := t.TempDir()
		config := `{"root":{"path":"/nowhere/x"},"annotations":{"devlog.socket":"` + tt.annotation + `"}}`
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

// TestUnknownStage: a stage of a specification to come does not keep a
// container from starting.
func TestUnknownStage(t *testing.T) {
	clean(t)
	var errs bytes.Buffer
	p := &program{stdin: strings.NewReader(`{"id":"c1","pid":42,"bundle":"/nowhere"}`), stderr: &errs, logs: []string{t.TempDir()}}
	if code := p.exit(p.run([]string{"devlog-hook", "oci", "--stage", "createPod"})); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	oneLine(t, errs.String(), `stage "createPod"`)
}
