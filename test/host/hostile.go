package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// CrashDir returns a directory of the programs whose devlog-hook dies at the
// checkpoint with the number DEVLOG_CRASH.
var CrashDir = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(filepath.Dir(BinDir), "crash")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs,devlog_crash", "-o", dir, "devlog/cmd/devlog-hook")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return dir, errors.Join(Command("cp", filepath.Join(BinDir, "devlogd"), dir))
})

// Named returns whether the name exists.
func Named(s Snapshot, name string) bool {
	return slices.ContainsFunc(s, func(line string) bool {
		f := strings.SplitN(line, " ", 3)
		return f[2] == name || strings.HasPrefix(f[2], name+" -> ")
	})
}

// Sentinel is a directory of the host that a hostile container tries to change.
const Sentinel = "/run/sentinel"

// Guarded is everything on the host that a hostile container must not change.
func Guarded(t *testing.T, h *Host) World {
	t.Helper()
	w := World{Host: Snap(t, h.Path("/"), "/dev", "/run", "/etc"), HostMounts: Table(t, h, 1)}
	// The root directory is the machine's, where other programs may create files:
	// look only for what a misled repair could make.
	for _, name := range []string{"devlog", "log", "file", "empty", ".devlog-repair", ".devlog-link", "evil", "x"} {
		if _, err := os.Lstat(h.Path("/" + name)); err == nil {
			w.Host = append(w.Host, "top 0:0 /"+name)
		}
	}
	return w
}

// NewVictim is a host with a live daemon, and a sentinel.
func NewVictim(t *testing.T) *Host {
	t.Helper()
	NeedContainers(t)
	h := NewHost(t)
	LiveSocket(t, h)
	h.Must("mkdir", "-p", Sentinel+"/devlog", Sentinel+"/empty")
	h.Must("touch", Sentinel+"/file", Sentinel+"/devlog/log")
	return h
}

// Sensible fails unless a command has ended as it may under an attack: without a crash
// or a usage error, and with one line. A repair adds a line about where messages go.
func Sensible(t *testing.T, r Result, what string) {
	t.Helper()
	said, _, _ := strings.Cut(r.Out+r.ErrOut, "messages go to ")
	if !slices.Contains([]int{0, 3, 4}, r.Code) || strings.Count(said, "\n") != 1 {
		t.Errorf("%s: %+v", what, r)
	}
}

// Number returns the number of a process's namespace.
func Number(t *testing.T, h *Host, pid int, kind string) uint64 {
	t.Helper()
	st, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/ns/%s", pid, kind)))
	Check(t, err)
	return st.Sys().(*syscall.Stat_t).Ino
}

// defaultCaps are the capabilities that engines give a container by default
// (daemon/pkg/oci/caps/defaults.go of moby).
var defaultCaps = []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}

// Intruder is a container with the engines' default capabilities that sees the
// host's processes: in its PID namespace (--pid=host), or in the host's /proc.
func Intruder(t *testing.T, h *Host, mounted bool) (c *OCI, proc string) {
	t.Helper()
	c, proc = NewIntruder(t, h, Hold, mounted)
	c.Write().Create()
	c.Start()
	return c, proc
}

// NewIntruder returns an Intruder with this script, not created yet.
func NewIntruder(t *testing.T, h *Host, script string, mounted bool) (c *OCI, proc string) {
	t.Helper()
	c = NewOCI(t, h, "runc", "intruder", script)
	process := c.Config["process"].(map[string]any)
	process["capabilities"] = map[string]any{"bounding": defaultCaps, "effective": defaultCaps, "permitted": defaultCaps}
	proc = "/proc"
	if mounted {
		proc = "/host/proc"
		c.Mount(proc, "bind", "/proc", "rbind")
	} else {
		linux := c.Config["linux"].(map[string]any)
		linux["namespaces"] = slices.DeleteFunc(linux["namespaces"].([]any), func(ns any) bool { return ns.(map[string]any)["type"] == "pid" })
	}
	return c, proc
}

// Reached returns the names below /proc/PID that lead to everything a process has, and
// that the container's root can open.
func (c *OCI) Reached(proc string, pid int) []string {
	c.t.Helper()
	const script = `cd $0/$1 || exit
ls root/ >/dev/null 2>&1 && echo root
ls cwd/ >/dev/null 2>&1 && echo cwd
readlink fd/0 >/dev/null 2>&1 && echo fd
readlink exe >/dev/null 2>&1 && echo exe
(: <mem) 2>/dev/null && echo mem
cat environ >/dev/null 2>&1 && echo environ
cat maps >/dev/null 2>&1 && echo maps
:`
	r := c.Exec("/bin/sh", "-c", script, proc, strconv.Itoa(pid))
	if r.Code != 0 {
		c.t.Fatalf("look at process %d: %+v", pid, r)
	}
	return strings.Fields(r.Out)
}

// HostMark is a file that only the host's root directory has.
const HostMark = "/run/mark-of-the-host"

// ProwlerArg as an argument makes the test binary a user with root's capabilities. It
// tries to reach everything of a process and its children, or the host's root
// directory through any process. The process ID or "all", and the user's ID, follow.
const ProwlerArg = "devlog-test-prowler"

// prowl tries until the standard input ends, and reports how often and what it reached.
func prowl(pid, user string) error {
	uid, err := strconv.Atoi(user)
	if err == nil {
		err = becomeCapable(uid)
	}
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(ended)
	}()
	found := map[string]bool{}
	for n := 0; ; n++ {
		select {
		case <-ended:
			fmt.Println(n)
			for what := range found {
				fmt.Println(what)
			}
			return nil
		default:
		}
		names, list := []string{"/root/.", "/cwd/."}, []string{pid}
		if pid == "all" {
			names, list = []string{"/root" + HostMark}, nil
			entries, _ := os.ReadDir("/proc") //nolint:errcheck // it exists
			for _, e := range entries {
				if e.Name()[0] >= '1' && e.Name()[0] <= '9' {
					list = append(list, e.Name())
				}
			}
		} else {
			text, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children") //nolint:errcheck // it may have ended
			list = append(list, strings.Fields(string(text))...)
		}
		for _, p := range list {
			for _, name := range names {
				if _, err := os.Stat("/proc/" + p + name); err == nil {
					comm, _ := os.ReadFile("/proc/" + p + "/comm") //nolint:errcheck // for people
					found[strings.TrimSpace(string(comm))+name] = true
				}
			}
		}
	}
}

// becomeCapable makes this goroutine the user's, and keeps its capabilities.
func becomeCapable(uid int) error {
	runtime.LockOSThread() // both belong to a thread
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	id := uintptr(uid)
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, err := unix.RawSyscall(call, id, id, id); err != 0 {
			return err
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	return unix.Capset(&header, &data[0])
}
