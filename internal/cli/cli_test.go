package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/devlog"
	"devlog/internal/hook"
)

// clean removes every variable that the flags look at.
func clean(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "DEVLOG_") || strings.HasPrefix(name, "LXC_") {
			t.Setenv(name, value) // puts it back
			os.Unsetenv(name)
		}
	}
}

func TestMain_usage(t *testing.T) {
	clean(t)
	for _, tt := range []struct {
		args string
		env  string
		want string // in the one line of the error
	}{
		{"", "", "which command"},
		{"bogus", "", `no command "bogus"`},
		{"repair --bogus", "", "bogus"},
		{"repair extra", "", `unexpected argument "extra"`},
		{"check --pid 0", "", "--pid 0"},
		{"check --pid x", "", `"x"`},
		{"check --pid 1 --root /", "", "exclude each other"},
		{"repair --strategy magic", "", `strategy "magic" does not exist`},
		{"repair --socket relative", "", "--socket"},
		{"repair --socket /a/../b", "", "--socket"},
		{"repair --socket /dev/x", "", "outside"},
		{"repair --socket /" + strings.Repeat("x", 120), "", "107"},
		{"repair --name a/b", "", "bad container name"},
		{"repair --rule nonsense", "", "nonsense"},
		{"repair", "DEVLOG_RULE=more nonsense", "more"},
		{"repair", "DEVLOG_STRATEGY=magic", "magic"},
		{"oci", "", "--stage"},
		{"oci --stage poststop", "", "poststop"},
		{"", "LXC_HOOK_TYPE=mount", `"mount"`},
		{"c1 lxc pre-start", "LXC_NAME=c1", `"pre-start"`},
	} {
		t.Run(tt.args+tt.env, func(t *testing.T) {
			if name, value, ok := strings.Cut(tt.env, "="); ok {
				t.Setenv(name, value)
			}
			var out, errs bytes.Buffer
			code := Main(append([]string{"devlog-hook"}, strings.Fields(tt.args)...), strings.NewReader(""), &out, &errs)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			oneLine(t, errs.String(), tt.want)
			if out.Len() > 0 {
				t.Errorf("standard output has %q", out.String())
			}
		})
	}
}

func oneLine(t *testing.T, text, want string) {
	t.Helper()
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "devlog-hook: ") || !strings.Contains(text, want) {
		t.Errorf("the error is %q, want one line with %q", text, want)
	}
}

// container makes a root directory with an empty /dev of its own.
func container(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "c1", "rootfs")
	if err := os.MkdirAll(filepath.Join(root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestCheck(t *testing.T) {
	clean(t)
	root := container(t)
	for _, tt := range []struct {
		name    string
		prepare func() error
		code    int
		out     string
	}{
		{"absent", func() error { return nil }, exitNeedsRepair,
			"symlink: listen on /run/devlog/log; make /dev/log a link to /run/devlog/log\n"},
		{"dangling", func() error { return os.Symlink("/run/systemd/journal/dev-log", root+"/dev/log") }, exitNeedsRepair,
			"/dev/log  link to /run/systemd/journal/dev-log, which does not exist here\nsyslog()  broken: no such file or directory\n"},
		{"regular file", func() error { return os.WriteFile(root+"/dev/log", nil, 0o600) }, exitRefused,
			"/dev/log  regular file, no socket\nsyslog()  broken: connection refused\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(root + "/dev/log")
			if err := tt.prepare(); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := Main([]string{"devlog-hook", "check", "--root", root}, nil, &out, &errs); code != tt.code {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, errs.String())
			}
			if !strings.Contains(out.String(), tt.out) {
				t.Errorf("check says\n%swant\n%s", out.String(), tt.out)
			}
			if lines := strings.Count(out.String(), "\n"); lines != 4 {
				t.Errorf("check says %d lines, want 4", lines)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	clean(t)
	root := container(t)
	var out, errs bytes.Buffer
	if code := Main([]string{"devlog-hook", "repair", "--root", root, "--dry-run"}, nil, &out, &errs); code != exitDone {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	const want = "would repair by symlink:\n1. listen on /run/devlog/log\n2. start the receiver\n3. make /dev/log a link to /run/devlog/log\n"
	if out.String() != want {
		t.Errorf("it says\n%swant\n%s", out.String(), want)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("the root has %v, %v; want dev alone", left, err)
	}
}

func TestNameOfRoot(t *testing.T) {
	for root, want := range map[string]string{
		"/var/lib/lxc/web/rootfs": "web", "/srv/web": "web", "/srv/web/": "web", "/rootfs": "/",
	} {
		if got := nameOfRoot(root); got != want {
			t.Errorf("nameOfRoot(%s) = %s, want %s", root, got, want)
		}
	}
}

// TestEveryFlagHasAVariable: the environment is the only way to configure what
// LXC calls.
func TestEveryFlagHasAVariable(t *testing.T) {
	p := &program{}
	for _, c := range p.app(&hook.LXC{}).Commands {
		for _, f := range c.Flags {
			vars := f.(interface{ GetEnvVars() []string }).GetEnvVars()
			want := "DEVLOG_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
			if f.Names()[0] == "rule" {
				continue // read by syslogconf.RulesFromEnv
			}
			if len(vars) != 1 || vars[0] != want {
				t.Errorf("%s --%s has the variables %v, want %s", c.Name, f.Names()[0], vars, want)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	p := &program{stderr: &bytes.Buffer{}}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errNeedsRepair, 1}, {errRefuses, 3}, {usageError{os.ErrInvalid}, 2}, {&devlog.Refusal{Reason: "a", Advice: "b"}, 3}, {os.ErrPermission, 4},
	} {
		if got := p.exit(tt.err); got != tt.want {
			t.Errorf("exit(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}
