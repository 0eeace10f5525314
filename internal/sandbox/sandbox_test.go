package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each version of Landlock is asked only for what it supports.
func TestHandled(t *testing.T) {
	for _, tt := range []struct {
		abi    int
		errata uintptr
		want   ruleset
	}{
		{1, 0, ruleset{0x1fff, 0, 0}}, {2, 0, ruleset{0x3fff, 0, 0}}, {3, 0, ruleset{0x7fff, 0, 0}}, {4, 0, ruleset{0x7fff, 3, 0}},
		{5, 0, ruleset{0xffff, 3, 0}}, {6, 0, ruleset{0xffff, 3, 1}}, {6, scopeErratum, ruleset{0xffff, 3, 3}}, {7, scopeErratum, ruleset{0xffff, 3, 3}},
	} {
		if got := handled(tt.abi, tt.errata); got != tt.want {
			t.Errorf("version %d, errata %d: %x, want %x", tt.abi, tt.errata, got, tt.want)
		}
	}
}

// fake is a kernel that has that version of Landlock, 0 none, and denies calls.
type fake struct {
	abi     uintptr
	deny    map[uintptr]unix.Errno
	rules   []uint64
	ruleset ruleset
	called  []uintptr
}

func (f *fake) kernel() *kernel {
	return &kernel{
		one: func(trap, _, b, c uintptr) (uintptr, unix.Errno) {
			if err := f.deny[trap]; err != 0 {
				return 0, err
			}
			switch {
			case trap == unix.SYS_LANDLOCK_CREATE_RULESET && c == createVersion && f.abi == 0:
				return 0, unix.EOPNOTSUPP
			case trap == unix.SYS_LANDLOCK_CREATE_RULESET && c == createVersion:
				return f.abi, 0
			case trap == unix.SYS_LANDLOCK_CREATE_RULESET && c == createErrata:
				return 0, unix.EINVAL
			case trap == unix.SYS_LANDLOCK_CREATE_RULESET:
				f.ruleset = arg.ruleset
				fd, err := unix.Open(os.DevNull, unix.O_PATH|unix.O_CLOEXEC, 0)
				if err != nil {
					return 0, unix.EMFILE
				}
				return uintptr(fd), 0
			case trap == unix.SYS_LANDLOCK_ADD_RULE && b == unix.LANDLOCK_RULE_PATH_BENEATH:
				f.rules = append(f.rules, arg.path.Allowed_access)
			}
			return 0, 0
		},
		all: func(trap, _, _, _ uintptr) unix.Errno {
			f.called = append(f.called, trap)
			return f.deny[trap]
		},
	}
}

// Every part that cannot be had leaves the others, and is reported.
func TestEnterFallsBack(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p := Policy{Landlock: true, Rules: []Rule{{int(dir.Fd()), Read | Write | Files | Device}, {int(null.Fd()), Read | Files}, {int(null.Fd()), Files}}}
	for _, tt := range []struct {
		name  string
		fake  fake
		want  Result
		said  string
		rules int
	}{
		{"all", fake{abi: 7}, Result{NoNewPrivs: true, Caps: true, Landlock: 7}, "", 2},
		{"a newer kernel", fake{abi: 99}, Result{NoNewPrivs: true, Caps: true, Landlock: 7}, "", 2},
		{"the first Landlock", fake{abi: 1}, Result{NoNewPrivs: true, Caps: true, Landlock: 1}, "", 2},
		{"no Landlock", fake{}, Result{NoNewPrivs: true, Caps: true}, "unsupported operation", 0},
		{"a filter", fake{deny: map[uintptr]unix.Errno{unix.SYS_LANDLOCK_CREATE_RULESET: unix.ENOSYS}}, Result{NoNewPrivs: true, Caps: true}, "unsupported operation", 0},
		{"no rule", fake{abi: 7, deny: map[uintptr]unix.Errno{unix.SYS_LANDLOCK_ADD_RULE: unix.EPERM}}, Result{NoNewPrivs: true, Caps: true}, "operation not permitted", 0},
		{"too many layers", fake{abi: 7, deny: map[uintptr]unix.Errno{unix.SYS_LANDLOCK_RESTRICT_SELF: unix.E2BIG}}, Result{NoNewPrivs: true, Caps: true}, "argument list too long", 2},
		{"no prctl", fake{abi: 7, deny: map[uintptr]unix.Errno{unix.SYS_PRCTL: unix.EPERM}}, Result{Caps: true, Landlock: 7}, "no_new_privs", 2},
		{"no threads", fake{abi: 7, deny: map[uintptr]unix.Errno{unix.SYS_PRCTL: unix.ENOTSUP, unix.SYS_LANDLOCK_RESTRICT_SELF: unix.ENOTSUP}}, Result{Caps: true}, "no_new_privs", 2},
	} {
		f := tt.fake
		got, err := f.kernel().enter(p)
		said := errors.Join(got.Problems...)
		got.Problems = nil
		if err != nil || got.NoNewPrivs != tt.want.NoNewPrivs || got.Caps != tt.want.Caps || got.Landlock != tt.want.Landlock {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
		if (said == nil) != (tt.said == "") || said != nil && !strings.Contains(said.Error(), tt.said) {
			t.Errorf("%s: it says %v, want %q", tt.name, said, tt.said)
		}
		if len(f.rules) != tt.rules {
			t.Errorf("%s: rules %x, want %d", tt.name, f.rules, tt.rules)
		}
		for i, access := range f.rules {
			if access&^f.ruleset.fs != 0 || i == 1 && access&^uint64(ofFile) != 0 {
				t.Errorf("%s: rule %d allows %x, which Landlock %d refuses", tt.name, i, access, f.abi)
			}
		}
	}
	// What cannot be dropped is reported too.
	f := fake{abi: 7, deny: map[uintptr]unix.Errno{unix.SYS_CAPSET: unix.EPERM}}
	if got, err := f.kernel().enter(p); os.Geteuid() == 0 && (err != nil || got.Caps || got.Landlock != 7) {
		t.Errorf("no capset: %+v, %v", got, err)
	}
}

func TestMain(m *testing.M) {
	switch os.Getenv("SANDBOX_TEST") {
	case "enter": // and what is executed then
		if _, err := Enter(Policy{}); err != nil {
			panic(err)
		}
		_ = os.Setenv("SANDBOX_TEST", "show")
		panic(unix.Exec("/proc/self/exe", os.Args, os.Environ()))
	case "guarded", "guarded-user": // and what is executed then
		p := Policy{Guarded: true}
		if os.Getenv("SANDBOX_TEST") == "guarded-user" {
			p.User = &User{12345, 54321}
		}
		if _, err := Enter(p); err != nil {
			panic(err)
		}
		_ = os.Setenv("SANDBOX_TEST", "show")
		panic(unix.Exec("/proc/self/exe", os.Args, os.Environ()))
	case "filter":
		tryFilter()
		os.Exit(0)
	case "dropped":
		DropGuard()
		fallthrough
	case "show":
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.Write(text)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A program executed as root regains no capability.
func TestExecutedHasNone(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"SANDBOX_TEST=enter"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, line := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(string(out), line+"\n") {
			t.Errorf("no line %q in\n%s", line, out)
		}
	}
}

// The guard outlasts what is executed, as a user too, until it is dropped.
func TestGuard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	const guard = 1 << Guard
	for name, want := range map[string]func(caps uint64) bool{
		"guarded":      func(caps uint64) bool { return caps == guard },
		"guarded-user": func(caps uint64) bool { return caps == guard },
		"dropped":      func(caps uint64) bool { return caps&guard == 0 && caps&(1<<unix.CAP_CHOWN) != 0 },
	} {
		exe, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join("/tmp", "devlog-guard-"+strconv.Itoa(os.Getpid())) // for a user to execute
		if err := os.WriteFile(program, exe, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(program) })
		cmd := exec.Command(program)
		cmd.Env = []string{"SANDBOX_TEST=" + name}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		_, line, _ := strings.Cut(string(out), "\nCapPrm:\t")
		line, _, _ = strings.Cut(line, "\n")
		if caps, err := strconv.ParseUint(line, 16, 64); err != nil || !want(caps) {
			t.Errorf("%s: %x, %v", name, caps, err)
		}
	}
}

func TestParseUser(t *testing.T) {
	dir := t.TempDir()
	passwdFile, groupFile = filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	t.Cleanup(func() { passwdFile, groupFile = "/etc/passwd", "/etc/group" })
	for file, text := range map[string]string{
		passwdFile: "root:x:0:0::/:/bin/sh\n\nlog:x:7:8::/:\nhigh:x:3000000000:8::/:\nbad:x:y:8::/:\nshort:x\n", groupFile: "adm:x:4:\nbad:x:z:\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	high := uint32(3_000_000_000) // an int of 32 bits has it as the system calls do
	for text, want := range map[string]User{
		"3000000000:4294967294": {int(high), int(high + 1294967294)}, "high": {int(high), 8}, "3000000000": {int(high), 8},
		"log": {7, 8}, "7": {7, 8}, "log:adm": {7, 4}, "log:9": {7, 9}, "1000:1001": {1000, 1001}, "root": {0, 0},
	} {
		if got, err := ParseUser(text); err != nil || got != want {
			t.Errorf("ParseUser(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "user \"\"", "nobody": "it is not in ", "1000": "hint: name the group too, as 1000:GID", "log:none": `group "none"`, "bad": `user "bad"`,
		"short": "it is not in ", "log:bad": `group "bad"`, "4294967295:0": "it is not in ", "-1": "it is not in ",
	} {
		if got, err := ParseUser(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseUser(%q) = %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "on": On, "off": Off} {
		if got, err := ParseMode(text); err != nil || got != want {
			t.Errorf("ParseMode(%q) = %q, %v", text, got, err)
		}
	}
	if _, err := ParseMode("yes"); err == nil {
		t.Error("ParseMode takes yes")
	}
}

func TestCapsInWords(t *testing.T) {
	if got := CapsOf(unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_ADMIN, 40).String(); got != "dac_override, sys_admin, 40" {
		t.Error(got)
	}
}
