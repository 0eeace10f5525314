package receiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/router"
	"devlog/internal/sandbox"
	"devlog/internal/syslogconf"
	"devlog/internal/watcher"
)

// needLandlock skips where the kernel has none.
func needLandlock(t *testing.T) {
	t.Helper()
	if sandbox.ABI() == 0 {
		t.Skip("the kernel has no Landlock")
	}
}

// A directory that was removed is made anew where the one above is another rule's.
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

// Where nothing above is allowed the file is lost: that is counted, and not
// written to the file that nobody finds any more.
func TestConfinedDirectoryIsOutOfReach(t *testing.T) {
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

// A receiver that is replaced again and again is confined once: sixteen layers are
// as many as there can be.
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

// What is to be another user's is, and what he may not write to is said.
func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
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
	if want := rooted + ": permission denied for user 12345 (--user): give it to that user with chown(1)\n"; !strings.HasSuffix(report, want) {
		t.Errorf("it says %q, want %q", report, want)
	}
	_, report = start(t, nil, "--listen", sock, "--rule", "*.* -"+rooted, "--user", "1:1", "--", "true")
	if !strings.Contains(report, "--no-auto-repair") {
		t.Errorf("with a command it says %q", report)
	}
}

// Within a container's rights a user has none of root's.
func TestUserInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d := startReady(t, nil, "--listen", filepath.Join(dir, "s"), "--name", "box", "--rule", "*.* -"+filepath.Join(dir, "new/m"),
		"--user", "12345:54321", "--exit-when-alone")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), "\nUid:\t12345\t") || !strings.Contains(string(status), "\nCapPrm:\t0000000000000000\n") {
		t.Errorf("%v, %s", err, status)
	}
	d.stop()
}

// A program in the root directory is not to have every file read.
func TestPolicyOfRoot(t *testing.T) {
	c := &confinement{below: func(string) string { return "" }}
	c.program("/proc/self/exe")
	c.program("/etc") // no file that could be one
	defer c.close()
	var root, st unix.Stat_t
	if err := unix.Stat("/", &root); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Rules {
		if err := unix.Fstat(r.FD, &st); err != nil || file.IDOf(&st) == file.IDOf(&root) {
			t.Errorf("the root directory is allowed, %v", err)
		}
	}
	if len(c.Rules) != 1 {
		t.Errorf("%d rules", len(c.Rules))
	}
}

// The time zone is known also where its file is out of reach later.
func TestConfinedTimeZone(t *testing.T) {
	needLandlock(t)
	dir, logs := t.TempDir(), filepath.Join(t.TempDir(), "logs")
	zone := []byte("TZif\x00" + strings.Repeat("\x00", 15) + // tzfile(5): one type, and its name
		strings.Repeat("\x00", 16) + "\x00\x00\x00\x01\x00\x00\x00\x04" + "\x00\x00\x46\x50\x00\x00XYZ\x00")
	if err := os.WriteFile(filepath.Join(dir, "zone"), zone, 0o644); err != nil {
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

// A receiver that is started anew is root at first, and is not to make files as root
// that it cannot open later.
func TestUserAnew(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, confined := range []bool{false, true} {
		log := filepath.Join(dir, fmt.Sprint("new", confined), "m")
		r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+log), nil })
		prepared(t, r)
		r.resumed = handover.NewDescription()
		want := uint32(12345)
		if confined { // by the program before this one, in the same process
			r.resumed.Confinement, want = &handover.Confinement{}, uint32(os.Geteuid())
		}
		if err := r.openOutputsAs(&sandbox.User{UID: 12345, GID: 54321}); err != nil {
			t.Fatal(err)
		}
		r.close()
		var st unix.Stat_t
		if err := unix.Stat(log, &st); err != nil || st.Uid != want {
			t.Errorf("%s is of %d, want %d, %v", log, st.Uid, want, err)
		}
	}
}

// What is kept follows from what is to be done later.
func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, needs string
		mode        sandbox.Mode
		caps        sandbox.Caps
		landlock    bool
	}{
		{"names", daemon.NeedsNames, sandbox.Auto, capsOfNames, true},
		{"ids", daemon.NeedsIDs, sandbox.Auto, capsOfIDs, true},
		{"host", daemon.NeedsHost, sandbox.Auto, capsOfNames, true},
		{"mounts", daemon.NeedsMounts, sandbox.Auto, capsOfMounts, false},
		{"mounts, on", daemon.NeedsMounts, sandbox.On, capsOfNames, true},
	} {
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := newReceiver(&options{name: "box"}, nil)
		prepared(t, r)
		held, err := unix.FcntlInt(root.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.watcher = watcher.New(watcher.Config{Owner: owner{r}, Root: held, Init: -1})
		r.init = 0
		var st unix.Stat_t
		if err := unix.Fstat(int(root.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		r.startRoot = file.IDOf(&st) // a container may have the host's root directory
		c := &confinement{below: func(string) string { return "" }}
		r.policy(c, &options{needs: tt.needs, sandbox: tt.mode, command: []string{"/usr/bin/true"}, rules: []string{"x"}})
		if c.Caps != tt.caps || (c.why == "") != tt.landlock {
			t.Errorf("%s: %s, %q; want %s, confined %t", tt.name, c.Caps, c.why, tt.caps, tt.landlock)
		}
		if want := tt.landlock && tt.needs != daemon.NeedsHost; slices.Contains(c.writes, "the container") != want {
			t.Errorf("%s: writes %q", tt.name, c.writes)
		}
		c.close()
		r.watcher.Stop()
		r.watcher.Close()
		_ = root.Close()
	}
}

// Whatever has the name of an output, there is no rule for what it is not, and none
// for what a link leads to where a container could have laid it.
func TestPolicyOfOutputs(t *testing.T) {
	logs := t.TempDir()
	at := func(name string) string { return filepath.Join(logs, name) }
	if err := errors.Join(os.Symlink("/", at("root")), os.Symlink("/etc/passwd", at("file-link")), os.Mkdir(at("dir"), 0o700), os.Mkdir(at("sub"), 0o700),
		os.WriteFile(at("file"), nil, 0o600), unix.Mkfifo(at("fifo"), 0o600), unix.Mkfifo(at("sub/fifo"), 0o600), os.Symlink("fifo", at("fifo-link"))); err != nil {
		t.Fatal(err)
	}
	var pty string
	if master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err == nil {
		t.Cleanup(func() { _ = unix.Close(master) })
		n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
		if err == nil {
			err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		pty = fmt.Sprint("/dev/pts/", n)
	}
	for _, tt := range []struct {
		kind  syslogconf.Kind
		path  string
		allow []string // what there are rules for
	}{
		{syslogconf.File, at("file"), []string{at("file"), logs}},
		{syslogconf.File, at("file-link"), []string{logs}},
		{syslogconf.File, at("root"), []string{logs}},
		{syslogconf.File, at("root/etc/passwd"), nil},
		{syslogconf.File, at("dir"), []string{logs}},
		{syslogconf.File, at("fifo"), []string{logs}},
		{syslogconf.File, at("sub/absent"), []string{at("sub")}},
		{syslogconf.FIFO, at("fifo"), []string{at("fifo"), logs}},
		{syslogconf.FIFO, at("sub/fifo"), []string{at("sub/fifo"), at("sub")}},
		{syslogconf.FIFO, at("fifo-link"), []string{logs}},
		{syslogconf.FIFO, at("root"), []string{logs}},
		{syslogconf.FIFO, at("dir"), []string{logs}},
		{syslogconf.FIFO, at("file"), []string{logs}},
		{syslogconf.FIFO, "/dev/null", nil},
		{syslogconf.Terminal, at("root"), nil},
		{syslogconf.Terminal, at("file"), nil},
		{syslogconf.Terminal, at("dir"), nil},
		{syslogconf.Terminal, "/dev/zero", nil},
		{syslogconf.Terminal, "/dev", nil},
		{syslogconf.Terminal, pty, []string{pty}},
	} {
		if tt.path == "" {
			continue // there are no terminals here
		}
		r := &receiver{logs: logs}
		c := &confinement{below: r.below}
		c.output(router.Route{Rules: []syslogconf.Rule{{Action: syslogconf.Action{Kind: tt.kind, Path: tt.path}}}})
		var got []string
		for _, rule := range c.Rules {
			name, err := os.Readlink(fmt.Sprint("/proc/self/fd/", rule.FD))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if !slices.Equal(got, tt.allow) {
			t.Errorf("%v %s: rules for %q, want %q", tt.kind, tt.path, got, tt.allow)
		}
		c.close()
	}
}

// filterCalls has the calls fail that the sandbox is made with, as a seccomp(2)
// filter does: with ENOSYS those of Landlock, with EPERM the dropping of
// capabilities.
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

// A receiver starts and receives whatever of its sandbox is denied, and says how far
// it is confined.
func TestConfinedAsFarAsItGoes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	for filter, want := range map[string][2]string{
		"landlock": {"not confined to directories (no capabilities): confine by Landlock: unsupported operation", ""},
		"capset":   {"confined (all its capabilities, writes to ", "cannot confine this receiver wholly: drop capabilities: operation not permitted"},
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

// A receiver that no hook has started hides where the first process may look into
// others: its container's root could not find it otherwise.
func TestMayLook(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tinit\nCapBnd:\t000001ffffffffff\n": true,
		"CapBnd:\t00000000a80425fb\n":              false, // of engines
		"CapBnd:\t00000000a80c25fb\n":              true,
		"CapBnd:\tx\n":                             true,
		"Name:\tCapBnd\n":                          true,
		"":                                         true,
	} {
		if got := mayLook(status); got != want {
			t.Errorf("mayLook(%q) = %t, want %t", status, got, want)
		}
	}
}
