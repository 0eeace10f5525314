package devlogd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
	"devlog/internal/sandbox"
)

// needLandlock skips where the kernel has none.
func needLandlock(t *testing.T) {
	t.Helper()
	if sandbox.ABI() == 0 {
		t.Skip("the kernel has no Landlock")
	}
}

// A removed directory is made again if the sandbox allows its parent, for another rule.
func TestConfinedDirectoryGoes(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	sock, logs, account := filepath.Join(dir, "s"), filepath.Join(dir, "logs"), filepath.Join(dir, "account")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "mail.* -"+logs+"/m", "--rule", "syslog.* -"+account)
	if got := d.confined(); !strings.Contains(got, "writes to "+logs+", "+dir+" only") {
		t.Fatalf("confined: %q", got)
	}
	fd := dial(t, sock)
	send(t, fd, "<22>one")
	awaitTimes(t, filepath.Join(logs, "m"), "one", 1)
	if err := os.RemoveAll(logs); err != nil {
		t.Fatal(err)
	}
	send(t, fd, "<22>two")
	awaitTimes(t, filepath.Join(logs, "m"), "two", 1)
	d.stop()
}

// A log directory that is replaced is out of the sandbox's reach: the messages are counted as
// lost, and not written to the removed file.
func TestConfinedDirectoryIsOutOfReach(t *testing.T) {
	t.Parallel() // at its end devlogd tries to write for five seconds
	needLandlock(t)
	dir := t.TempDir()
	sock, logs, account := filepath.Join(dir, "s"), filepath.Join(dir, "logs"), filepath.Join(t.TempDir(), "account")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "mail.* -"+logs+"/m", "--rule", "syslog.* -"+account)
	fd := dial(t, sock)
	send(t, fd, "<22>one")
	awaitTimes(t, filepath.Join(logs, "m"), "one", 1)
	if err := os.RemoveAll(logs); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 1<<13)
	for range 2 << 20 / len(text) { // more than is kept
		send(t, fd, "<22>"+text)
	}
	d.signal(unix.SIGUSR1)
	awaitTimes(t, account, "permission denied", 1)
	if !strings.Contains(content(t, account), "lost") {
		t.Errorf("nothing is counted as lost: %s", content(t, account))
	}
	if left, err := os.ReadDir(logs); err != nil || len(left) > 0 {
		t.Errorf("the new directory has %v, %v", left, err)
	}
	d.stopLosing(filepath.Join(logs, "m"), "permission denied")
}

// Upgrades do not add sandboxes: the kernel allows sixteen layers.
func TestUpgradeConfined(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	program, sock, log := filepath.Join(dir, "devlogd"), filepath.Join(dir, "s"), filepath.Join(dir, "m")
	copyProgram(t, program)
	d, report := startProgram(t, program, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
	if report != "READY=1\n" {
		t.Fatalf("not ready: %s", report)
	}
	before := d.confined()
	fd := dial(t, sock)
	for i := 1; i <= 20; i++ {
		d.signal(unix.SIGUSR2)
		awaitTimes(t, log, "upgraded to devlogd ", i)
		send(t, fd, fmt.Sprintf("<13>after %d.", i))
		awaitTimes(t, log, fmt.Sprintf("after %d.", i), 1)
	}
	if got := d.confined(); got != before || !strings.HasPrefix(got, "confined (no capabilities, ") {
		t.Errorf("confined: %q, before %q", got, before)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), guardOnly) {
		t.Errorf("%v, %s", err, status)
	}
	d.stop()
}

// guardOnly is in the status of a process that has no capability but the guard.
const guardOnly = "\nCapPrm:\t0000000800000000\n"

// openDirectory returns a directory that other users can reach. The test needs root.
func openDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	filetest.Reachable(t, dir)
	return dir
}

// With --user, files and process belong to the user, and a file that the user may not write to
// is reported.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	dir := openDirectory(t)
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "new/m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--user", "12345:54321")
	send(t, dial(t, sock), "<13>mine")
	awaitTimes(t, log, "mine", 1)
	for _, path := range []string{log, filepath.Dir(log)} {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Uid != 12345 || st.Gid != 54321 {
			t.Errorf("%s is of %d:%d, %v", path, st.Uid, st.Gid, err)
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", d.cmd.Process.Pid))
	for _, task := range tasks {
		status, _ := os.ReadFile(task)
		if len(status) > 0 && (!strings.Contains(string(status), "\nUid:\t12345\t12345\t12345\t12345\n") || !strings.Contains(string(status), "\nGroups:\t \n")) {
			t.Errorf("%s: %s", task, status)
		}
	}
	d.stop()
	if _, err := os.Lstat(sock); err == nil {
		t.Error("the socket is left behind")
	}
	d = startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log, "--user", "12345:54321", "--sandbox", "off")
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid)); err != nil || !strings.Contains(string(status), guardOnly) {
		t.Errorf("a user without a sandbox: %v, %s", err, status)
	}
	d.stop()
	rooted := filepath.Join(dir, "root")
	if err := os.WriteFile(rooted, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, report := start(t, nil, "--listen", sock, "--rule", "*.* -"+rooted, "--user", "12345:54321")
	if want := rooted + ": permission denied for user 12345 (--user); hint: give it to that user with chown(1)\n"; !strings.HasSuffix(report, want) {
		t.Errorf("it says %q, want %q", report, want)
	}
	_, report = start(t, nil, "--listen", sock, "--rule", "*.* -"+rooted, "--user", "1:1", "--", "true")
	if !strings.Contains(report, "--no-auto-repair") {
		t.Errorf("with a command it says %q", report)
	}
}

// In a container, a receiver with --user has no capabilities.
func TestUserInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	dir := openDirectory(t)
	d := startReady(t, nil, "--listen", filepath.Join(dir, "s"), "--name", "box", "--rule", "*.* -"+filepath.Join(dir, "new/m"),
		"--user", "12345:54321", "--exit-when-alone")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), "\nUid:\t12345\t") || !strings.Contains(string(status), "\nCapPrm:\t0000000000000000\n") {
		t.Errorf("%v, %s", err, status)
	}
	d.stop()
}

// The time zone stays known if the sandbox later hides its file.
func TestConfinedTimeZone(t *testing.T) {
	needLandlock(t)
	dir, logs := t.TempDir(), filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(filepath.Join(dir, "zone"), zoneFile("XYZ", 5*3600), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_TZ", ":"+filepath.Join(dir, "zone"))
	program, log, sock := filepath.Join(t.TempDir(), "devlogd"), filepath.Join(logs, "m"), filepath.Join(t.TempDir(), "s")
	copyProgram(t, program)
	d, report := startProgram(t, program, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log+";RFC5424")
	if report != "READY=1\n" {
		t.Fatalf("not ready: %s", report)
	}
	fd := dial(t, sock)
	send(t, fd, "<13>first")
	awaitTimes(t, log, "first", 1)
	d.signal(unix.SIGUSR2)
	awaitTimes(t, log, "upgraded to devlogd ", 1)
	send(t, fd, "<13>last")
	awaitTimes(t, log, "last", 1)
	if text := content(t, log); strings.Count(text, "+05:00") != 3 {
		t.Errorf("it has another time zone:\n%s", text)
	}
	d.stop()
}

// filterCalls makes system calls of the sandbox fail, with a seccomp(2) filter: Landlock's with
// ENOSYS, or capset(2) with EPERM.
func filterCalls(which string) error {
	if which == "" {
		return nil
	}
	nr, result := uint32(unix.SYS_LANDLOCK_CREATE_RULESET), uint32(unix.ENOSYS)
	if which == "capset" {
		nr, result = unix.SYS_CAPSET, uint32(unix.EPERM)
	}
	code := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | result},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if err != 0 {
		return err
	}
	return nil
}

// A receiver starts and receives even if parts of its sandbox are denied, and says how far it
// is confined.
func TestConfinedAsFarAsItGoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	for filter, want := range map[string][2]string{
		"landlock": {"not confined to directories (no capabilities): cannot use Landlock: unsupported operation", ""},
		"capset":   {"confined (all its capabilities, writes to ", "cannot confine this receiver wholly: cannot drop capabilities: operation not permitted"},
	} {
		if filter == "capset" && sandbox.ABI() == 0 {
			continue
		}
		dir := t.TempDir()
		sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
		t.Setenv("TEST_FILTER", filter)
		d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
		if got := d.confined(); !strings.HasPrefix(got, want[0]) {
			t.Errorf("%s: %q, want %q", filter, got, want[0])
		}
		send(t, dial(t, sock), "<13>received")
		awaitTimes(t, log, "received", 1)
		if text := content(t, log); want[1] != "" && !strings.Contains(text, want[1]) || want[1] == "" && strings.Contains(text, "cannot confine") {
			t.Errorf("%s: it says %q, want %q", filter, text, want[1])
		}
		d.stop()
	}
}
