package host

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Sysvinit is the init that deps.sh unpacks for containers.
func Sysvinit() string {
	return Unpacked("init/sbin/init")
}

// Unpacked returns a file that deps.sh only unpacks.
func Unpacked(file string) string {
	return filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), "/var/cache"), "devlog-test", file)
}

// BootSystemd makes systemd the container's init, as in Debian. It runs the script when
// the system is up.
func BootSystemd(t *testing.T, c *LXC, script string) {
	t.Helper()
	tree := Unpacked("systemd")
	for _, dir := range []string{"bin", "etc", "lib", "lib64", "sbin", "usr/bin", "usr/lib", "var"} {
		to := filepath.Join(c.Rootfs, dir)
		Check(t, os.MkdirAll(to, 0o755))
		// Do not write through a link of busybox.
		Check(t, Command("cp", "-a", "--remove-destination", filepath.Join(tree, dir)+"/.", to))
	}
	units := filepath.Join(c.Rootfs, "etc/systemd/system")
	wants := filepath.Join(units, "multi-user.target.wants")
	Check(t, os.MkdirAll(wants, 0o755))
	// The services would change the machine's kernel, and the mount would hide what a test has in /tmp.
	for _, name := range []string{"systemd-sysctl.service", "systemd-modules-load.service", "modprobe@.service", "tmp.mount"} {
		Check(t, os.Symlink("/dev/null", filepath.Join(units, name)))
	}
	Check(t, os.WriteFile(filepath.Join(units, "script.service"), []byte("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /etc/script\n"), 0o644))
	// Without it, this would be a first boot, with questions.
	Check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o444))
	Check(t, os.Symlink("../script.service", filepath.Join(wants, "script.service")))
	Check(t, os.WriteFile(filepath.Join(c.Rootfs, "etc/script"), []byte("export PATH=/bin:/usr/bin\n"+script), 0o644))
	flags := []string{"-d"}
	if !Exists("/sys/fs/cgroup/cgroup.controllers") { // since 256 systemd refuses to boot with cgroup v1 without it
		flags = append(flags, "-s", "lxc.environment=SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1")
	}
	if r := c.H.Do(c.Args("lxc-start", append(flags, "--", "/lib/systemd/systemd", "--unit=multi-user.target")...)...); r.Code != 0 {
		text, _ := os.ReadFile(filepath.Join(c.Path, "log"))
		t.Fatalf("lxc-start: %+v\n%s", r, text)
	}
}

// EndSystemd makes systemd power the container off.
func EndSystemd(t *testing.T, c *LXC) {
	t.Helper()
	if r := c.Attach("/bin/systemctl", "--force", "--force", "poweroff"); r.Code != 0 {
		t.Errorf("poweroff: %+v", r)
	}
	c.WaitStopped()
	ExpectReceiversEnd(t, c.H)
}

// DevLog is a state of a host's /dev/log that a container finds.
type DevLog struct {
	Name string
	Make func(t *testing.T, h *Host)
	// to is where /dev/log points in the container after the repair. stays says that the
	// host's is unchanged. Otherwise the host then has a dead socket there, over which
	// the link is mounted.
	To    string
	Stays bool
}

// DevLogs are all these states. In the third, the host's journal listens: nothing may reach it.
var DevLogs = []DevLog{
	{"absent", func(*testing.T, *Host) {}, "/run/devlog/log", false},
	{"stale socket", StaleSocket, "/run/devlog/log", false},
	{"journal", Journal, "/run/systemd/journal/dev-log", true},
	{"dangling link", func(t *testing.T, h *Host) {
		Check(t, os.Symlink("/run/elsewhere/log", h.Path("/dev/log")))
	}, "/run/devlog/log", true},
}

// StaleSocket leaves a socket at the host's /dev/log that nobody listens at.
func StaleSocket(t *testing.T, h *Host) { StaleSocketAt(t, h.Path("/dev/log")) }

// StaleSocketAt leaves a socket at the path that nobody listens at.
func StaleSocketAt(t *testing.T, path string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	Check(t, err)
	Check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	Check(t, unix.Close(fd))
}

// Journal makes the host one with systemd: /dev/log points to its journal.
func Journal(t *testing.T, h *Host) {
	dir := "/run/systemd/journal"
	Check(t, os.MkdirAll(h.Path(dir), 0o755))
	_ = Listen(t, h.Path(dir+"/dev-log"))
	Check(t, os.Symlink(dir+"/dev-log", h.Path("/dev/log")))
}

// ExpectDev compares the host to what it was before, and to what a container with a
// hook should leave there.
func ExpectDev(t *testing.T, h *Host, before []string, s DevLog) {
	t.Helper()
	var got []string
	for _, line := range Tree(h) {
		if !strings.Contains(line, " /dev/log") {
			got = append(got, line)
		} else if s.Stays && !slices.Contains(before, line) {
			t.Errorf("/dev/log: %q, before: %q", line, before)
		}
	}
	var want []string
	for _, line := range before {
		if !strings.Contains(line, " /dev/log") {
			want = append(want, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the host is\n%q\nand was\n%q", got, want)
	}
	info, err := os.Lstat(h.Path("/dev/log"))
	if !s.Stays && (err != nil || info.Mode().Type() != os.ModeSocket || CanConnect(h.Path("/dev/log"))) {
		t.Errorf("/dev/log is %v, %v, want a socket where nobody listens", info, err)
	}
}
