package devlogd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/handover"

	"golang.org/x/sys/unix"
)

// passedSocket binds a socket to pass and returns its path.
func passedSocket(t *testing.T, dir string) (string, passed) {
	t.Helper()
	path := filepath.Join(dir, "log")
	return path, passed{handover.NameSocket, boundAt(t, path)}
}

// boundAt is a socket with that name.
func boundAt(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), path)
}

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPassedFiles(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	path, socket := passedSocket(t, run)
	init, end := firstProcess(t)
	log := filepath.Join(dir, "m")
	d := startReady(t, []passed{
		socket,
		init,
		{handover.NameUnlink + "log", openDir(t, run)},
		{handover.NameRmdir + "run", openDir(t, dir)},
		{handover.NameUnlink + "absent", openDir(t, dir)},
	}, "--name", "box", "--rule", "*.* -"+log)
	d.signal(unix.SIGSTOP) // the last message and the end come at once
	send(t, dial(t, path), "<13>app: last")
	end()
	d.signal(unix.SIGCONT)
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := content(t, log); got != "box app: last\n" {
		t.Errorf("%q", got)
	}
	if _, err := os.Lstat(run); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%s is still there: %v", run, err)
	}
}

func TestSignals(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--rule", "*.* -"+log, "--rule", "news.* -"+log+"2")
	fd := dial(t, sock)
	send(t, fd, "<13>x: one")
	await(t, log, "x: one")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	d.signal(unix.SIGHUP)
	for end := time.Now().Add(deadline); ; {
		if _, err := os.Stat(log); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal("the file is not opened again")
		}
		_, _ = unix.Poll(nil, 2)
	}
	send(t, fd, "<13>x: two")
	await(t, log, "x: two")
	d.signal(unix.SIGUSR1)
	await(t, log, "devlogd["+fmt.Sprint(d.cmd.Process.Pid)+"]: received 2, own 0, matched by a rule 2, by no rule 0, cut 0; "+log+": written 2, pending 0; "+log+"2: written 0, pending 0\n")
	if got := content(t, log+".1"); strings.Count(got, "\n") != 1 {
		t.Errorf("old file: %q", got)
	}
	d.signal(unix.SIGINT)
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "m")
	live, _ := passedSocket(t, dir)
	stale := filepath.Join(dir, "stale")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: stale}), unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		live:                           "another program is receiving there",
		link:                           "it is a symbolic link to target",
		file:                           "it is not a socket",
		"/" + strings.Repeat("x", 107): "longer than 107 bytes",
		file + "/x/y":                  "not a directory",
	} {
		d, report := start(t, nil, "--listen", path, "--rule", "*.* -"+log)
		if code := d.wait(); code != 4 || !strings.Contains(report, want) || strings.Count(report, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q, want %s", path, code, report, want)
		}
	}
	d := startReady(t, nil, "--listen", stale, "--rule", "*.* -"+log)
	if info, err := os.Stat(stale); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info, err)
	}
	send(t, dial(t, stale), "<13>x: y")
	await(t, log, "x: y")
	// A name that another has taken over is not removed.
	if err := os.Remove(stale); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.stop()
	if _, err := os.Stat(stale); err != nil {
		t.Errorf("removed another's file: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".devlogd*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "usage: devlogd"},
		{[]string{"-h"}, 0, "usage: devlogd"},
		{[]string{"--version"}, 0, "devlogd devel"},
		{[]string{"--check-config", "--rule", "*.* /f"}, 0, ""},
		{[]string{"--check-config", "--rule", "*.foo /f"}, 2, "unknown severity \"foo\""},
		{[]string{"--rule", "*.* -" + dir + "/f"}, 2, "no socket to receive from"},
		{[]string{"--foo"}, 2, "unknown argument \"--foo\""},
		{[]string{"--config", dir + "/absent"}, 2, "no such file"},
		{[]string{"--rule", "*.* " + dir}, 4, "is a directory"},
	} {
		cmd := command(tt.args...)
		out, err := cmd.CombinedOutput()
		code := cmd.ProcessState.ExitCode()
		if code != tt.code || !strings.Contains(string(out), tt.want) || code != 0 && strings.Count(string(out), "\n") != 1 {
			t.Errorf("%q: %v, %q, want %d, %s", tt.args, err, out, tt.code, tt.want)
		}
	}
}

// Each wrong line is one line, with where it is and the program's name.
func TestCheckConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte("*.info -/a\n*.foo /b\nmail.*\n*.* *\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command("--check-config", "--config", file)
	out, err := cmd.CombinedOutput()
	want := "devlogd: " + file + ":2:3: unknown severity"
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if cmd.ProcessState.ExitCode() != 2 || len(lines) != 2 || !strings.HasPrefix(lines[0], want) ||
		!strings.HasPrefix(lines[1], "devlogd: "+file+":3:7: expected an action") {
		t.Errorf("%v, %q", err, lines)
	}
}
