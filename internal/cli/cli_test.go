package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/environ"
	"devlog/internal/hook"
	"devlog/internal/hosts"
	"devlog/internal/plan"
	"devlog/internal/usage"
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
		{"", "", "no command"},
		{"bogus", "", `unknown command "bogus"`},
		{"repair --bogus", "", "unknown option --bogus (did you mean --journal?); see devlog-hook repair --help"},
		{"repair --rulez x", "", "unknown option --rulez (did you mean --rule?); see devlog-hook repair --help"},
		{"--versionx", "", "unknown option --versionx (did you mean --version?); see devlog-hook --help"},
		{"repair --rule", "", "--rule needs a value"},
		{"repiar", "", `unknown command "repiar" (did you mean repair?)`},
		{"help bogus", "", `unknown command "bogus"`},
		{"config dokcer", "", `unknown configuration "dokcer" (did you mean docker?)`},
		{"repair extra more", "", `unexpected argument "more"`},
		{"check --pid 1 web", "", "exclude each other"},
		{"undo web --host", "", "exclude each other"},
		{"check web --jsno", "", "unknown option --jsno (did you mean --json?)"},
		{"config", "", "config needs a KIND"},
		{"config bogus", "", `unknown configuration "bogus"`},
		{"config docker extra", "", `unexpected argument "extra"`},
		{"check --pid 0", "", "--pid 0"},
		{"check --pid x", "", `invalid value "x" for --pid: `},
		{"check --root=", "", "--root"},
		{"repair --root=", "", "--root"},
		{"undo --root=", "", "--root"},
		{"undo --socket relative", "", "--socket"},
		{"repair", "DEVLOG_ROOT=", "--root"},
		{"repair --pid 1 --root=", "", "exclude each other"},
		{"repair --host --root=", "", "exclude each other"},
		{"check --pid 1 --root /", "", "exclude each other"},
		{"repair --keep", "", "--host"},
		{"repair --strategy magic", "", `unknown strategy "magic": want auto, `},
		{"repair --socket relative", "", "--socket"},
		{"repair --socket /a/../b", "", "--socket"},
		{"repair --socket /dev/x", "", "outside"},
		{"repair --socket /run/a:b", "", "colon"},
		{"repair --socket /" + strings.Repeat("x", 120), "", "107"},
		{"repair --name a/b", "", "bad container name"},
		{"repair --rule nonsense", "", "nonsense"},
		{"repair", "DEVLOG_RULE=more nonsense", "more"},
		{"repair", "DEVLOG_STRATEGY=magic", "magic"},
		{"repair --keep-logs 3", "", `--keep-logs: "3" is not a time`},
		{"repair --rate 0", "", `rate "0"`},
		{"repair --rate 1/h", "", "want N, N/s or N/m"},
		{"repair", "DEVLOG_RATE=many", `rate "many"`},
		{"repair --rate 1 --overflow spill", "", `overflow "spill": want block or drop`},
		{"repair --overflow drop", "", "needs --rate"},
		{"repair --compress-repeats=perhaps", "", `invalid boolean value "perhaps" for --compress-repeats: `},
		{"oci", "", "--stage"},
		{"oci --stage POSTSTOP", "", `unknown stage "POSTSTOP": want one of prestart, `},
		{"oci --stage prestrat", "", `unknown stage "prestrat"`},
		{"", "LXC_HOOK_TYPE=mount", `"mount"`},
		{"c1 lxc pre-start", "LXC_NAME=c1", `"pre-start"`},
	} {
		t.Run(tt.args+tt.env, func(t *testing.T) {
			if name, value, ok := strings.Cut(tt.env, "="); ok {
				t.Setenv(name, value)
			}
			t.Setenv(hook.OnErrorVariable, hook.OnErrorFail)
			var out, errs bytes.Buffer
			p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, logs: []string{t.TempDir()}, kmsg: "/nowhere"}
			code := p.main(append([]string{"devlog-hook"}, strings.Fields(tt.args)...))
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
			"/dev/log  regular file, not a socket\nsyslog()  broken: connection refused\n"},
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
			if lines := strings.Count(out.String(), "\n") - strings.Count(out.String(), "\nhint "); lines != 4 {
				t.Errorf("check says %d lines besides a hint, want 4", lines)
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
	const want = "would repair by symlink:\n1. create /run/devlog if it is missing, and record there what undo needs\n" +
		"2. listen on /run/devlog/log\n3. start the receiver\n4. make /dev/log a link to /run/devlog/log\n"
	if out.String() != want {
		t.Errorf("it says\n%swant\n%s", out.String(), want)
	}
	if left, err := os.ReadDir(root); err != nil || len(left) != 1 {
		t.Errorf("the root has %v, %v; want dev alone", left, err)
	}
}

// Every flag has a variable: the environment is the only way to configure what LXC calls.
func TestEveryFlagHasAVariable(t *testing.T) {
	p := &program{}
	for _, c := range p.app(&hook.LXC{}).Commands {
		for _, f := range c.Flags {
			vars := f.(interface{ GetEnvVars() []string }).GetEnvVars()
			want := "DEVLOG_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))
			if f.Names()[0] == "rule" {
				continue // read by syslogconf.RulesFromEnv
			}
			if said := environ.Unknown([]string{want + "="}); said != nil {
				t.Errorf("it is said that %q", said)
			}
			if len(vars) != 1 || vars[0] != want {
				t.Errorf("%s --%s has the variables %v, want %s", c.Name, f.Names()[0], vars, want)
			}
		}
	}
}

// Each container that failed has a line of its own.
func TestFailures(t *testing.T) {
	var errs bytes.Buffer
	p := &program{stderr: &errs}
	p.exit(each(errors.Join(errors.New("one"), errors.Join(errors.New("two"), errors.New("and a half")))))
	if err := each(os.ErrInvalid); !errors.Is(err, os.ErrInvalid) || each(nil) != nil {
		t.Errorf("each changes %v", err)
	}
	if got, want := errs.String(), "devlog-hook: one\ndevlog-hook: two; and a half\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

// Text that a container chose is escaped, and cannot control a terminal.
func TestEscapes(t *testing.T) {
	var errs bytes.Buffer
	p := &program{stderr: &errs}
	p.exit(errors.New("open /run/\x1b[2J\xff: no"))
	if got, want := errs.String(), "devlog-hook: open /run/#033[2J#377: no\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestExitCodes(t *testing.T) {
	p := &program{stderr: &bytes.Buffer{}}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{failures{usage.Error{Err: os.ErrInvalid}, &plan.Refusal{Reason: "a"}}, 3},
		{failures{&hosts.SharerError{Err: &plan.Refusal{Reason: "a"}}}, 3},
		{failures{&plan.Refusal{Reason: "a"}, os.ErrPermission, usage.Error{Err: os.ErrInvalid}}, 3},
		{failures{&plan.Refusal{Reason: "a"}, os.ErrNotExist}, 4},
		{nil, 0}, {errNeedsRepair, 1}, {errRefuses, 3}, {usage.Error{Err: os.ErrInvalid}, 2}, {&plan.Refusal{Reason: "a", Advice: "b"}, 3}, {os.ErrPermission, 3}, {os.ErrNotExist, 4},
	} {
		if got := p.exit(tt.err); got != tt.want {
			t.Errorf("exit(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}
