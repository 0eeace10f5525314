package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// HookFile is the path of one of the files in hooks/.
func HookFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../hooks/" + name)
	Check(t, err)
	return path
}

// DaemonsDir is where deps.sh has unpacked the real syslog daemons.
func DaemonsDir() string {
	return Unpacked("daemons")
}

// NeedDaemons skips a test for which deps.sh could not unpack the daemons. With
// DEVLOG_TEST_REQUIRE it fails instead.
func NeedDaemons(t *testing.T) {
	t.Helper()
	for _, program := range []string{"rsyslogd", "syslog-ng"} {
		if _, err := os.Stat(filepath.Join(DaemonsDir(), "usr/sbin", program)); err != nil {
			if os.Getenv("DEVLOG_TEST_REQUIRE") != "" {
				t.Fatalf("this test needs %s: %v; run test/deps.sh", program, err)
			}
			t.Skipf("this test needs %s: %v; run test/deps.sh", program, err)
		}
	}
}

// Daemon is a real syslog daemon, of a host or of a container.
type Daemon struct {
	t    *testing.T
	h    *Host
	Args []string // the command line on the host
	file string   // its configuration, which is only on its command line
	// Socket is its socket, as it sees the path. Log is its file, as the test
	// sees it.
	Socket, Log string
	Pid         int // on the host; 0 if it does not run
	Ended       chan error
	Said        bytes.Buffer // its output, readable after its end
}

// DaemonKind is a daemon, rsyslogd or syslog-ng, and the type of its socket.
type DaemonKind struct {
	Program string
	stream  bool // syslog-ng only
}

// DaemonKinds are the real daemons that tests run.
var DaemonKinds = []DaemonKind{{"rsyslogd", false}, {"syslog-ng", false}, {"syslog-ng", true}}

func (k DaemonKind) String() string {
	if k.stream {
		return k.Program + " stream"
	}
	return k.Program
}

// Config returns a configuration that writes all messages of the socket to DIR/log.
// Senders wait rather than lose a message.
func (k DaemonKind) Config(socket, dir string) string {
	if k.Program == "rsyslogd" {
		return fmt.Sprintf(`module(load="imuxsock" SysSock.Use="off")
main_queue(queue.type="Direct")
input(type="imuxsock" Socket="%s" RateLimit.Interval="0")
*.* action(type="omfile" file="%s/log")
`, socket, dir)
	}
	source := `unix-dgram("` + socket + `")`
	if k.stream {
		// Above max-connections, by default 256, it closes new connections, and
		// a sender that connects for each message can exceed that. So let it run
		// out of descriptors first: then clients wait.
		source = `unix-stream("` + socket + `" max-connections(100000) log-iw-size(1000000))`
	}
	return fmt.Sprintf(`@version: 3.38
options { stats-freq(0); log-fifo-size(500000); };
source s { %s; };
destination d { file("%s/log"); };
log { source(s); destination(d); flags(flow-control); };
`, source, dir)
}

// Command returns the daemon's command line, for daemons unpacked in root.
func (k DaemonKind) Command(root, dir string) []string {
	libs := make([]string, 0, 3)
	for _, l := range []string{"usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/syslog-ng"} {
		libs = append(libs, filepath.Join(root, l))
	}
	line := []string{"/usr/bin/env", "LD_LIBRARY_PATH=" + strings.Join(libs, ":"), filepath.Join(root, "usr/sbin", k.Program), "-f", dir + "/conf"}
	if k.Program == "rsyslogd" {
		return append(line, "-n", "-i", dir+"/pid", "-M", filepath.Join(root, "usr/lib/x86_64-linux-gnu/rsyslog"))
	}
	return append(line, "-F", "-e", "--no-caps", "-R", dir+"/persist", "-c", dir+"/ctl", "-p", dir+"/pid",
		"--module-path="+SyslogNGModules(root))
}

// SyslogNGModules is the directory of syslog-ng's modules, for files unpacked in root, which may
// be a path in a container. It has the name of the version.
func SyslogNGModules(root string) string {
	found, _ := filepath.Glob(filepath.Join(DaemonsDir(), "usr/lib/syslog-ng/[0-9]*")) //nolint:errcheck // the pattern is valid
	version := ""
	if len(found) > 0 {
		version = filepath.Base(found[0])
	}
	return filepath.Join(root, "usr/lib/syslog-ng", version)
}

// NewDaemon makes a daemon of the host. Start starts it.
func NewDaemon(t *testing.T, h *Host, k DaemonKind, socket string) *Daemon {
	t.Helper()
	dir := t.TempDir()
	Check(t, os.WriteFile(dir+"/conf", []byte(k.Config(socket, dir)), 0o644))
	return DaemonWith(t, h, k.Command(DaemonsDir(), dir), dir+"/conf", socket, dir+"/log")
}

// DaemonWith makes a daemon with this command line, configuration file, socket and log.
func DaemonWith(t *testing.T, h *Host, args []string, file, socket, log string) *Daemon {
	d := &Daemon{t: t, h: h, Args: args, file: file, Socket: socket, Log: log}
	t.Cleanup(func() {
		if d.Pid != 0 && !t.Failed() {
			d.Stop()
		}
	})
	return d
}

// Start starts the daemon and waits until it listens at its name.
func (d *Daemon) Start() {
	d.t.Helper()
	cmd := d.h.Command(context.Background(), d.Args...) // Stop comes after the test's context ends
	d.Said.Reset()
	cmd.Stdout, cmd.Stderr = &d.Said, &d.Said
	Check(d.t, cmd.Start())
	d.Ended = make(chan error, 1)
	go func() { d.Ended <- cmd.Wait() }()
	listening := false
	defer func() {
		if !listening {
			d.t.Logf("%q: %s", d.Args, &d.Said)
		}
	}()
	Eventually(d.t, d.file+" listens on "+d.Socket, func() bool {
		select {
		case err := <-d.Ended:
			d.t.Fatalf("%q ended: %v\n%s", d.Args, err, &d.Said)
		default:
		}
		d.Pid = d.Find()
		return d.Pid != 0 && listens(d.h, d.Pid, d.Socket)
	})
	listening = true
}

// Find returns the daemon's process ID on the host; 0 if it does not run.
func (d *Daemon) Find() int {
	for _, p := range d.h.Processes() {
		f := strings.Fields(p)
		name := filepath.Base(f[1])
		if pid, err := strconv.Atoi(f[0]); err == nil && slices.Contains(f, d.file) && (name == "rsyslogd" || name == "syslog-ng") {
			return pid
		}
	}
	return 0
}

// Stop ends the daemon as its init script does.
func (d *Daemon) Stop() {
	d.t.Helper()
	// This must also work after the end of the test's context.
	Check(d.t, d.h.Command(context.Background(), "kill", "-TERM", strconv.Itoa(d.Pid)).Run())
	d.Pid = 0
	Eventually(d.t, d.file+" has ended", func() bool { return len(d.Ended) == 1 })
	if err := <-d.Ended; err != nil {
		d.t.Errorf("end of %q: %v\n%s", d.Args, err, &d.Said)
	}
}

// listens returns whether a process of the host has a socket open that was bound to
// that name. The name itself may be gone.
func listens(h *Host, pid int, name string) bool {
	proc := h.Path(fmt.Sprintf("/proc/%d", pid))
	table, err := os.ReadFile(proc + "/net/unix") // of the process's own network namespace
	if err != nil {
		return false
	}
	links, err := filepath.Glob(proc + "/fd/*")
	if err != nil {
		return false
	}
	for _, l := range links {
		text, _ := os.Readlink(l) // may be closed by now
		inode, ok := strings.CutPrefix(text, "socket:[")
		if ok && bytes.Contains(table, []byte(" "+strings.TrimSuffix(inode, "]")+" "+name+"\n")) {
			return true
		}
	}
	return false
}

// BuildC compiles a C program of the tests.
func BuildC(t *testing.T, source string) string {
	t.Helper()
	Need(t, "gcc")
	program := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), ".c"))
	Check(t, Command("gcc", "-O1", "-Wall", "-Werror", "-static", "-o", program, source))
	return program
}

// Background runs a program on the host that ends with its standard input. end closes
// that and returns the program's output.
func Background(t *testing.T, h *Host, args ...string) (end func() string) {
	t.Helper()
	cmd := h.Command(t.Context(), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	Check(t, err)
	Check(t, cmd.Start())
	return func() string {
		t.Helper()
		Check(t, in.Close())
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, &out)
		}
		return out.String()
	}
}

// WaitAtMost is WaitFor for what may not happen.
func WaitAtMost(limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	came := false
	_ = WaitFor(func() bool {
		came = done()
		return came || time.Now().After(end)
	})
	return came
}

// OwnSocket returns whether /dev/log in the container is a link to a live socket
// outside /dev, which is then the container's own.
func (c *Cheap) OwnSocket() bool {
	to, err := os.Readlink(c.Path("/dev/log"))
	if err != nil || strings.HasPrefix(to, "/dev/") {
		return false
	}
	if next, err := os.Readlink(c.Path(to)); err == nil { // one that was adopted
		to = next
	}
	return CanConnect(c.Path(to))
}

// RemoveLog removes /dev/log. RemoveLog, LinkLog and StaleLog are how other programs replace it.
func RemoveLog(t *testing.T, h *Host) {
	t.Helper()
	if err := os.Remove(h.Path("/dev/log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// LinkLog replaces /dev/log by a link.
func LinkLog(t *testing.T, h *Host, to string) {
	t.Helper()
	Check(t, os.Symlink(to, h.Path("/dev/log.new")))
	Check(t, os.Rename(h.Path("/dev/log.new"), h.Path("/dev/log")))
}

// StaleLog replaces /dev/log by a socket that nobody listens at.
func StaleLog(t *testing.T, h *Host) {
	t.Helper()
	name := h.Path("/dev/log.new")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	Check(t, err)
	Check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: name}))
	Check(t, unix.Close(fd))
	Check(t, os.Rename(name, h.Path("/dev/log")))
}

// CanConnect returns whether somebody listens at a socket of any type.
func CanConnect(name string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: name})
	return err == nil || errors.Is(err, unix.EPROTOTYPE)
}

// Enough is how often the host is prepared or unprepared under load, and how
// many messages each of the four senders sends at least.
func (k DaemonKind) Enough() (swaps, each int) {
	if k.stream { // no other names, only another socket behind them
		return 40, 10_000
	}
	return 200, 50_000
}
