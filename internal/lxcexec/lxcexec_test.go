package lxcexec

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

func TestJudge(t *testing.T) {
	exe, other := file.ID{Dev: 1, Ino: 2}, file.ID{Dev: 1, Ino: 3}
	for _, tt := range []struct {
		name  string
		s     scan
		await bool
		maybe bool
		want  verdict
	}{
		{"cannot look", scan{}, true, false, stopWatching},
		{"another's init", scan{exe: exe, exeName: "systemd", exeOK: true, waiting: true}, false, true, stopWatching},
		{"init executed its program", scan{exe: other, exeName: "systemd", exeOK: true, waiting: true}, true, true, stopWatching},
		{"init executed lxc's init", scan{exe: other, exeName: "init.lxc", exeOK: true}, true, false, undecided},
		{"lxc-start, hook runs", scan{exe: exe, exeName: "lxc-start", exeOK: true, other: 3}, true, false, waitForOther},
		{"lxc-start, hook has ended", scan{exe: exe, exeName: "lxc-start", exeOK: true}, true, false, undecided},
		{"lxc-execute, program runs", scan{exe: exe, exeName: "lxc-execute", exeOK: true, other: 9, waiting: true}, false, true, waitForOther},
		{"lxc-execute, before its wait", scan{exe: exe, exeName: "lxc-execute", exeOK: true}, false, true, undecided},
		{"lxc-execute, first look", scan{exe: exe, exeName: "lxc-execute", exeOK: true, waiting: true}, false, false, maybeAlone},
		{"lxc-execute, second look", scan{exe: exe, exeName: "lxc-execute", exeOK: true, waiting: true}, true, true, isAlone},
	} {
		if got := judge(tt.s, exe, tt.await, tt.maybe); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestWaitsForAll(t *testing.T) {
	for _, tt := range []struct {
		line string
		want bool
	}{
		{fmt.Sprintf("%d 0xffffffff 0x7ffc 0x0 0x0 0x0 0x0 0x7ffc 0x7f\n", unix.SYS_WAIT4), true},
		{fmt.Sprintf("%d 0xffffffffffffffff 0x7ffc\n", unix.SYS_WAIT4), true},
		{fmt.Sprintf("%d 0x5 0x7ffc\n", unix.SYS_WAIT4), false},
		{fmt.Sprintf("%d 0x0 0x0\n", unix.SYS_WAITID), true},
		{fmt.Sprintf("%d 0x1 0x5\n", unix.SYS_WAITID), false},
		{"0 0x0 0x7ffc\n", false},
		{"running\n", false},
		{"-1 0x0 0x0\n", false},
		{"", false},
	} {
		if got := waitsForAll(tt.line); got != tt.want {
			t.Errorf("%q: got %v", tt.line, got)
		}
	}
}

func FuzzWaitsForAll(f *testing.F) {
	f.Add("61 0xffffffff 0x7ffc")
	f.Fuzz(func(t *testing.T, line string) {
		if waitsForAll(line) && !strings.Contains(line, fmt.Sprint(unix.SYS_WAIT4)) && !strings.Contains(line, fmt.Sprint(unix.SYS_WAITID)) {
			t.Fatalf("%q", line)
		}
	})
}

// fakeProc makes a /proc of these processes' states.
func fakeProc(t *testing.T, exe string, states map[int]string, syscall string) procDir {
	t.Helper()
	dir := t.TempDir()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "meminfo"), "")
	for pid, state := range states {
		write(filepath.Join(dir, fmt.Sprint(pid), "stat"), fmt.Sprintf("%d (a) Z (b) %s 0 1", pid, state))
	}
	if syscall != "" {
		write(filepath.Join(dir, "1", "syscall"), syscall)
	}
	if exe != "" {
		write(filepath.Join(dir, exe), "")
		if err := os.Symlink(filepath.Join(dir, exe), filepath.Join(dir, "1", "exe")); err != nil {
			t.Fatal(err)
		}
	}
	return procDir(dir)
}

func TestScan(t *testing.T) {
	wait := fmt.Sprintf("%d 0xffffffff 0x0", unix.SYS_WAIT4)
	for _, tt := range []struct {
		name    string
		exe     string
		states  map[int]string
		syscall string
		want    scan
	}{
		{"alone", "lxc-execute", map[int]string{1: "S", 5: "S"}, wait, scan{exeName: "lxc-execute", exeOK: true, waiting: true}},
		{"others", "init", map[int]string{1: "S", 5: "S", 12: "S", 7: "R"}, "running", scan{exeName: "init", exeOK: true, other: 7}},
		{"zombies", "init", map[int]string{1: "S", 5: "S", 2: "Z", 3: "X"}, wait, scan{exeName: "init", exeOK: true, waiting: true}},
		{"no syscall, sleeps", "init", map[int]string{1: "S", 5: "S"}, "", scan{exeName: "init", exeOK: true, waiting: true}},
		{"no syscall, runs", "init", map[int]string{1: "R", 5: "S"}, "", scan{exeName: "init", exeOK: true}},
		{"no exe", "", map[int]string{1: "S"}, wait, scan{waiting: true}},
	} {
		got, err := fakeProc(t, tt.exe, tt.states, tt.syscall).scan(5)
		if tt.want.exeOK && got.exe.Ino == 0 {
			t.Errorf("%s: no identity of the program", tt.name)
		}
		got.exe = file.ID{}
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
	}
	if _, err := procDir(filepath.Join(t.TempDir(), "absent")).scan(5); err == nil {
		t.Error("no error without /proc")
	}
}

func TestNewLXCExec(t *testing.T) {
	lxc := fakeProc(t, "lxc-execute", map[int]string{1: "S"}, "")
	start := fakeProc(t, "lxc-start", map[int]string{1: "S"}, "")
	none := fakeProc(t, "", map[int]string{1: "S"}, "")
	for _, tt := range []struct {
		name  string
		proc  procDir
		self  int
		await bool
		want  bool
	}{
		{"lxc-execute", lxc, 5, false, true},
		{"process 1 itself", lxc, 1, false, false},
		{"lxc-start", start, 5, false, false},
		{"lxc-start during the hook", start, 5, true, true},
		{"unknown", none, 5, true, false},
	} {
		if got := newWatch(tt.proc, tt.self, tt.await) != nil; got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

func TestStepLXCExec(t *testing.T) {
	proc := fakeProc(t, "lxc-execute", map[int]string{1: "S", 5: "S"}, fmt.Sprintf("%d 0xffffffff", unix.SYS_WAIT4))
	w := newWatch(proc, 5, false)
	noPoll := func(fd int) error { return unix.EINVAL }
	now := w.Next()
	for range 2 { // the second is too early to look
		if w.Step(now, noPoll) {
			t.Fatal("alone after one look")
		}
	}
	if want := now.Add(confirmDelay); !w.Next().Equal(want) {
		t.Errorf("looks again at %v, want %v", w.Next(), want)
	}
	if !w.Step(w.Next(), noPoll) {
		t.Error("not alone after two looks")
	}
	w = nil // where there is nothing to watch for
	if w.Step(now, noPoll) || w.Event(-1) || !w.Next().IsZero() {
		t.Error("no watch has something to do")
	}
}
