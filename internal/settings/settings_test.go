package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"devlog/internal/launch"
	"devlog/internal/plan"
	"devlog/internal/usage"

	"golang.org/x/sys/unix"
)

const ownLogs = "/var/log/devlog/c1"

func TestReadAnnotations(t *testing.T) {
	host := Bounds{Dir: ownLogs, Shared: true}
	trusted := Bounds{All: true, Dir: ownLogs, Shared: true}
	entered, inside := Bounds{Shared: true}, Bounds{}
	rules := func(text string) map[string]string { return map[string]string{"devlog.dev/rules": text} }
	one := func(name, value string) map[string]string { return map[string]string{name: value} }
	flag := func(name, value string) Settings { return Settings{Flags: map[string]string{name: value}} }
	for _, tt := range []struct {
		name  string
		given map[string]string
		in    Bounds
		want  Settings
		err   string // "2 " for a usage error, "3 " for a refusal, and what the error says
	}{
		{"none", nil, host, Settings{}, ""},
		{"others'", one("io.podman.x", "off"), host, Settings{}, ""},
		{"others' that begin like ours", map[string]string{"devlog.example/log": "perhaps", "devlog.dev.example/rules": "x"}, host, Settings{}, ""},
		{"old", one("devlog", "off"), host, Settings{Off: true, Old: "devlog"}, ""},
		{"old, with a value", one("devlog.strategy", "bind"), host, Settings{Flags: map[string]string{"strategy": "bind"}, Old: "devlog.strategy"}, ""},
		{"old, wrong", one("devlog.strategy", "magic"), host, Settings{}, `2 annotation devlog.strategy: unknown strategy "magic"`},
		{"old, of another version", one("devlog.colour", "red"), host, Settings{Unknown: []string{"ignored: unknown annotation devlog.colour"}}, ""},
		{"for this container", map[string]string{"devlog.dev/log.c": "off", "devlog.dev/log": "on"}, host, Settings{Off: true}, ""},
		{"for another container", one("devlog.dev/log.d", "perhaps"), host, Settings{}, ""},
		{"rate", one("devlog.dev/rate", "100/s"), host, flag("rate", "100/s"), ""},
		{"no rate", one("devlog.dev/rate", "many"), host, Settings{}, "2 annotation devlog.dev/rate"},
		{"overflow", one("devlog.dev/overflow", "drop"), host, flag("overflow", "drop"), ""},
		{"no overflow", one("devlog.dev/overflow", "burn"), host, Settings{}, "2 annotation devlog.dev/overflow"},
		{"off", one("devlog.dev/log", "off"), host, Settings{Off: true}, ""},
		{"on", one("devlog.dev/log", "on"), host, Settings{}, ""},
		{"perhaps", one("devlog.dev/log", "perhaps"), host, Settings{}, `2 annotation devlog.dev/log: "perhaps"`},
		{"of another version", one("devlog.dev/colour", "red"), host, Settings{Unknown: []string{"ignored: unknown annotation devlog.dev/colour"}}, ""},
		{"rules", rules("*.info " + ownLogs + "/info\n\n*.* -" + ownLogs + "/a/b\n"), host,
			Settings{Rules: []string{"*.info " + ownLogs + "/info", "*.* -" + ownLogs + "/a/b"}, Files: []string{ownLogs + "/info", ownLogs + "/a/b"}}, ""},
		{"its own output", rules("*.* container-stdout"), host, Settings{Rules: []string{"*.* container-stdout"}}, ""},
		{"too many rules", rules(strings.Repeat("*.* container-stdout\n", 33)), host, Settings{}, "3 annotation devlog.dev/rules: an annotation may have at most 32 rules"},
		{"a rotation", rules("*.* " + ownLogs + "/x;rotate=64k:99"), host, Settings{Rules: []string{"*.* " + ownLogs + "/x;rotate=64k:99"}, Files: []string{ownLogs + "/x"}}, ""},
		{"a rotation for each message", rules("*.* " + ownLogs + "/x;rotate=1:2"), host, Settings{}, "3 annotation devlog.dev/rules: rule "},
		{"a rotation of many files", rules("*.* " + ownLogs + "/x;rotate=1M:100"), host, Settings{}, "3 annotation devlog.dev/rules: rule "},
		{"a rotation, allowed", rules("*.* " + ownLogs + "/x;rotate=1:999"), trusted, Settings{Rules: []string{"*.* " + ownLogs + "/x;rotate=1:999"}, Files: []string{ownLogs + "/x"}}, ""},
		{"pipe", rules("*.* |" + ownLogs + "/pipe"), host, Settings{}, "3 "},
		{"not a rule", rules("nonsense"), host, Settings{}, `2 annotation devlog.dev/rules: rule "nonsense"`},
		{"file elsewhere", rules("*.* /etc/passwd"), host, Settings{}, "3 annotation devlog.dev/rules: rule"},
		{"file of another", rules("*.* /var/log/devlog/c2/messages"), host, Settings{}, "3 "},
		{"file with a longer name", rules("*.* /var/log/devlog/c11/messages"), host, Settings{}, "3 "},
		{"the directory itself", rules("*.* " + ownLogs + "/."), host, Settings{}, "3 "},
		{"up", rules("*.* " + ownLogs + "/../c2/messages"), host, Settings{}, "3 "},
		{"kernel", rules("*.* /dev/kmsg"), host, Settings{}, "3 "},
		{"file elsewhere, allowed", rules("*.* /etc/x"), trusted, Settings{Rules: []string{"*.* /etc/x"}, Files: []string{"/etc/x"}}, ""},
		{"kernel, allowed", rules("*.* /dev/kmsg"), trusted, Settings{Rules: []string{"*.* /dev/kmsg"}}, ""},
		{"file in the container", rules("*.* /var/log/x"), entered, Settings{Rules: []string{"*.* /var/log/x"}, Files: []string{"/var/log/x"}}, ""},
		{"strategy", one("devlog.dev/strategy", "bind"), host, flag("strategy", "bind"), ""},
		{"no strategy", one("devlog.dev/strategy", "magic"), host, Settings{}, `2 annotation devlog.dev/strategy: unknown strategy "magic"`},
		{"strategy for all", one("devlog.dev/strategy", "symlink"), host, Settings{}, "3 "},
		{"strategy for all, entered", one("devlog.dev/strategy", "symlink"), entered, Settings{}, "3 "},
		{"strategy for all, inside", one("devlog.dev/strategy", "symlink"), inside, flag("strategy", "symlink"), ""},
		{"strategy for all, allowed", one("devlog.dev/strategy", "symlink"), trusted, flag("strategy", "symlink"), ""},
		{"socket", one("devlog.dev/socket", "/run/own/log"), host, flag("socket", "/run/own/log"), ""},
		{"socket in /dev", one("devlog.dev/socket", "/dev/x"), host, Settings{}, "2 annotation devlog.dev/socket"},
		{"further sockets", one("devlog.dev/listen", "/a/log\n/b/log"), host, flag("listen", "/a/log\n/b/log"), ""},
		{"further sockets in /dev", one("devlog.dev/listen", "/a/log\n/dev/x"), host, Settings{}, "2 annotation devlog.dev/listen"},
		{"journal", one("devlog.dev/journal", "on"), host, flag("journal", "true"), ""},
		{"no journal", one("devlog.dev/journal", "off"), host, flag("journal", "false"), ""},
		{"journal, perhaps", one("devlog.dev/journal", "true"), host, Settings{}, "2 annotation devlog.dev/journal"},
		{"receiver", one("devlog.dev/receiver", "none"), host, flag("receiver", "none"), ""},
		{"a program", one("devlog.dev/receiver", "/tmp/evil"), host, Settings{}, "3 annotation devlog.dev/receiver"},
		{"a program, inside", one("devlog.dev/receiver", "/tmp/evil"), inside, Settings{}, "3 "},
		{"a program, allowed", one("devlog.dev/receiver", "/opt/x"), trusted, flag("receiver", "/opt/x"), ""},
	} {
		got, err := Read(tt.given, "c", tt.in)
		if tt.err == "" {
			if tt.want.Flags == nil {
				tt.want.Flags = map[string]string{}
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
			}
			continue
		}
		code, says, _ := strings.Cut(tt.err, " ")
		if refused := errors.As(err, new(*plan.Refusal)); err == nil || refused != (code == "3") || !refused && !errors.As(err, new(usage.Error)) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want kind %s and %q", tt.name, err, code, says)
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
		s, err := Read(map[string]string{name: value}, "c1", Bounds{Dir: ownLogs, Shared: true})
		if err != nil {
			return
		}
		for _, file := range s.Files {
			if in, err := filepath.Rel(ownLogs, file); err != nil || in == "." || !filepath.IsLocal(in) {
				t.Errorf("accepted %q", file)
			}
		}
		if r := s.Flags["receiver"]; r != "" && r != launch.NoReceiver || s.Flags["strategy"] == string(plan.Symlink) {
			t.Errorf("accepted %+v", s)
		}
	})
}

func TestWithoutLinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c1")
	if err := WithoutLinks(dir, dir+"/a/messages"); err != nil {
		t.Errorf("where there is nothing yet: %v", err)
	}
	for _, err := range []error{os.MkdirAll(dir+"/a", 0o755), os.WriteFile(dir+"/a/messages", nil, 0o600),
		os.Symlink("/etc", dir+"/b"), os.Symlink("/etc/passwd", dir+"/c"), os.Symlink(dir, dir+"-link")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := WithoutLinks(dir, dir+"/a/messages"); err != nil {
		t.Errorf("a file: %v", err)
	}
	for _, in := range [][2]string{{dir, "/b/passwd"}, {dir, "/c"}, {dir + "-link", "/a/messages"}, {dir + "/a/messages", "/x"}} {
		if err := WithoutLinks(in[0], in[0]+in[1]); !errors.As(err, new(*plan.Refusal)) && !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%s: %v, want a refusal", in, err)
		}
	}
}

func TestFurtherSockets(t *testing.T) {
	many := ""
	for i := range 16 {
		many += fmt.Sprintf("/a/%d\n", i)
	}
	for _, tt := range []struct {
		values []string
		n      int
		err    string
	}{
		{nil, 0, ""},
		{[]string{"", " \n"}, 0, ""},
		{[]string{"/a/log\n /b/log\n", "/a/log"}, 2, ""},
		{[]string{many}, 16, ""},
		{[]string{many, "/a/15"}, 16, ""},
		{[]string{many, "/b/log"}, 0, "at most 16"},
		{[]string{"/run/devlog/log"}, 0, "another directory"},
		{[]string{"/run/devlog/.devlog-repair"}, 0, "another directory"},
		{[]string{"/dev/log"}, 0, "outside it"},
		{[]string{"/run/systemd/journal/socket"}, 0, "use --journal"},
		{[]string{"a/log"}, 0, "absolute"},
		{[]string{"/a/../dev/log"}, 0, "absolute"},
		{[]string{"/a/:"}, 0, "colon"},
		{[]string{"/" + strings.Repeat("a", 107)}, 0, "107 bytes"},
	} {
		list, err := FurtherSockets(tt.values, "/run/devlog/log")
		if len(list) != tt.n || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %q, %v", tt.values, list, err)
		}
	}
}

func TestOwnEnv(t *testing.T) {
	containers := []string{"PATH=/bin", "DEVLOG_RECEIVER=/evil", "DEVLOG_NAME=x"}
	for env, ok := range map[string]bool{"PATH=/bin": true, "DEVLOG_RECEIVER=/usr/libexec/x": true, "DEVLOG_RECEIVER=/evil": false} {
		if err := OwnEnv([]string{env}, containers); (err == nil) != ok {
			t.Errorf("OwnEnv(%s): %v", env, err)
		}
	}
}

// An unknown annotation is named with the known one that it resembles.
func TestUnknown(t *testing.T) {
	for name, want := range map[string]string{
		"devlog.dev/log":        "",
		"devlog.dev/lgo":        "ignored: unknown annotation devlog.dev/lgo (did you mean devlog.dev/log?)",
		"devlog.dev/rule":       "ignored: unknown annotation devlog.dev/rule (did you mean devlog.dev/rules?)",
		"devlog.dev/Rate.web":   "ignored: unknown annotation devlog.dev/Rate.web (did you mean devlog.dev/rate?)",
		"devlog.dev/rules.db":   "", // another container of the pod
		"devlog.dev/brightness": "ignored: unknown annotation devlog.dev/brightness",
		"example.com/lgo":       "",
	} {
		if got := strings.Join(Unknown(map[string]string{name: ""}, "web"), "; "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Each known annotation is read.
func TestKnown(t *testing.T) {
	for _, name := range known {
		s := Settings{Flags: map[string]string{}}
		if err := s.read(name, "x", Bounds{}); errors.Is(err, errUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
