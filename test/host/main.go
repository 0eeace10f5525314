// Package host runs the programs as their users do: as root, with real
// container runtimes and real syslog clients, on temporary hosts that share only
// the kernel with this machine.
package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Deadline is the longest wait. It is long because slowness of a loaded machine is not
// tested.
const Deadline = 30 * time.Second

// What Main builds, once for all tests.
var (
	BinDir   string // devlogd, devlog-hook and devlog-runtime
	template string // a root directory with clients, copied for each container
	Client   string // the glibc client of testdata/client.c
)

// Main is the TestMain of each folder. It builds what the tests run, and runs them in the
// directory test, to which their file names are relative. The same binary also plays
// the processes that the harness starts.
func Main(m *testing.M) {
	if os.Getenv(holderEnv) != "" {
		if err := holdHost(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == listenerArg {
		if err := holdListener(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == CatcherArg {
		if err := catch(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == ProwlerArg {
		if err := prowl(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := toTests(); err != nil {
		fmt.Fprintln(os.Stderr, "find the directory test:", err)
		os.Exit(1)
	}
	os.Exit(run(m))
}

// toTests makes test the working directory. The tests of a folder start in theirs.
func toTests() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return os.Chdir(filepath.Join(dir, "test"))
		}
	}
	return errors.New("no go.mod above the working directory")
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "devlog-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	// LXC opens a root directory as another user.
	if err := errors.Join(os.Chmod(dir, 0o755), build(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "build what the tests run:", err)
		return 1
	}
	before := lxcCgroups()
	defer func() {
		for dir := range lxcCgroups() {
			if !before[dir] {
				_ = os.Remove(dir) // a directory in use stays
			}
		}
	}()
	return m.Run()
}

// lxcCgroups returns the existing cgroups of LXC. Those of its monitor stay when a fake
// host ends.
func lxcCgroups() map[string]bool {
	found := map[string]bool{}
	for _, pattern := range []string{"/sys/fs/cgroup/lxc.*", "/sys/fs/cgroup/*/lxc.*"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			panic(err) // the pattern is invalid
		}
		for _, dir := range dirs {
			found[dir] = true
		}
	}
	return found
}

// build makes the programs under test as the Makefile does, and the client.
// DEVLOG_TEST_BIN names a directory of prebuilt programs instead.
func build(dir string) error {
	BinDir = filepath.Join(dir, "bin")
	if err := os.Mkdir(BinDir, 0o755); err != nil {
		return err
	}
	if from := os.Getenv("DEVLOG_TEST_BIN"); from != "" {
		if err := Command("cp", filepath.Join(from, "devlogd"), filepath.Join(from, "devlog-hook"), filepath.Join(from, "devlog-runtime"), BinDir); err != nil {
			return err
		}
	} else {
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", BinDir,
			"devlog/cmd/devlogd", "devlog/cmd/devlog-hook", "devlog/cmd/devlog-runtime")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
	}
	if Missing("gcc") != "" {
		return nil // Need(t, "gcc") says so
	}
	Client = filepath.Join(dir, "client")
	if err := Command("gcc", "-O1", "-Wall", "-Werror", "-o", Client, "testdata/client.c"); err != nil {
		return err
	}
	template = filepath.Join(dir, "template")
	return buildTemplate(template)
}

// Command runs a command. Only its failure matters.
func Command(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// Missing returns why something that a test needs is missing, or "".
func Missing(what string) string {
	switch what {
	case "root":
		if os.Geteuid() != 0 {
			return "not root"
		}
		if err := canUnshare(); err != nil {
			return "cannot make namespaces: " + err.Error()
		}
		return ""
	case "fuse":
		return absent("/dev/fuse")
	case "memfd_noexec":
		return absent("/proc/sys/vm/memfd_noexec")
	case "sysvinit":
		return absent(Sysvinit())
	case "systemd":
		return absent(Unpacked("systemd/lib/systemd/systemd"))
	case "openrc":
		return absent(Unpacked("openrc/sbin/openrc"))
	case "qemu":
		return absent(Qemu("arm"))
	case "s6":
		return absent(Unpacked("supervisors/usr/bin/s6-supervise"))
	case "runit":
		return absent(Unpacked("supervisors/usr/bin/runsv"))
	case "lxc":
		what = "lxc-execute"
	case "nfpm":
		what = "../.tools/nfpm" // make deps
	case "docker":
		if what = enginePath("usr/bin/docker"); absent(what) == "" {
			what = enginePath("usr/sbin/dockerd")
		}
	case "containerd":
		what = enginePath("usr/bin/containerd")
	}
	if _, err := exec.LookPath(what); err != nil {
		return err.Error()
	}
	return ""
}

// absent returns why the file does not exist, or "".
func absent(file string) string {
	if _, err := os.Stat(file); err != nil {
		return err.Error()
	}
	return ""
}

var canUnshare = sync.OnceValue(func() error {
	return Command("unshare", "--mount", "--pid", "--fork", "--propagation", "private",
		"mount", "-t", "tmpfs", "tmpfs", "/mnt")
})

// Need skips the test where something it needs is missing. DEVLOG_TEST_REQUIRE
// lists what must be here: without it a test fails instead.
func Need(t *testing.T, names ...string) {
	t.Helper()
	required := strings.Split(os.Getenv("DEVLOG_TEST_REQUIRE"), ",")
	for _, name := range names {
		why := Missing(name)
		switch {
		case why == "":
		case slices.Contains(required, name):
			t.Fatalf("this test needs %s: %s", name, why)
		default:
			t.Skipf("this test needs %s: %s", name, why)
		}
	}
}

// NeedContainers is Need for tests that start containers with our clients.
func NeedContainers(t *testing.T, names ...string) {
	t.Helper()
	Need(t, append([]string{"root", "gcc", "busybox", "logger"}, names...)...)
}

// Eventually waits until done is true, and fails the test after the deadline.
func Eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !WaitFor(done) {
		t.Fatalf("%s: not so after %v", what, Deadline)
	}
}

// WaitFor polls, because what the tests wait for (a file's content, another program's
// end) causes no event.
func WaitFor(done func() bool) bool {
	limit := time.NewTimer(Deadline)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if done() {
			return true
		}
		select {
		case <-limit.C:
			return done()
		case <-tick.C:
		}
	}
}
