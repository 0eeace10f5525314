package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// daemonsDir is where deps.sh has unpacked the real syslog daemons.
func daemonsDir() string {
	return unpacked("daemons")
}

// needDaemons skips a test for which deps.sh could not unpack the daemons.
// Where DEVLOG_TEST_REQUIRE demands anything, it fails instead.
func needDaemons(t *testing.T) {
	t.Helper()
	for _, program := range []string{"rsyslogd", "syslog-ng"} {
		if _, err := os.Stat(filepath.Join(daemonsDir(), "usr/sbin", program)); err != nil {
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
	args []string // on the host
	file string   // its configuration: no other process has that on its command line
	// Socket is the name of its socket where it runs, Log its file, seen from
	// the test.
	Socket, Log string
	pid         int // on the host, 0 if it does not run
	ended       chan error
	said        bytes.Buffer // to be read when it has ended
}

// daemonKind says which daemon it is to be: rsyslogd or syslog-ng, and which
// type of socket it listens on.
type daemonKind struct {
	program string
	stream  bool // syslog-ng only
}

var daemonKinds = []daemonKind{{"rsyslogd", false}, {"syslog-ng", false}, {"syslog-ng", true}}

func (k daemonKind) String() string {
	if k.stream {
		return k.program + " stream"
	}
	return k.program
}

// config is a configuration that writes all that comes to the socket to DIR/log,
// and has senders wait rather than that it drops a message.
func (k daemonKind) config(socket, dir string) string {
	if k.program == "rsyslogd" {
		return fmt.Sprintf(`module(load="imuxsock" SysSock.Use="off")
main_queue(queue.type="Direct")
input(type="imuxsock" Socket="%s" RateLimit.Interval="0")
*.* action(type="omfile" file="%s/log")
`, socket, dir)
	}
	source := `unix-dgram("` + socket + `")`
	if k.stream {
		// It hangs up on who comes when there are max-connections, 256 by
		// itself, and a sender that connects for each message makes more; how
		// many depends on when it comes to run. So it runs out of descriptors
		// first, after which it lets them wait.
		source = `unix-stream("` + socket + `" max-connections(100000) log-iw-size(1000000))`
	}
	return fmt.Sprintf(`@version: 3.38
options { stats-freq(0); log-fifo-size(500000); };
source s { %s; };
destination d { file("%s/log"); };
log { source(s); destination(d); flags(flow-control); };
`, source, dir)
}

// command is the daemon's command line, for daemons unpacked in root.
func (k daemonKind) command(root, dir string) []string {
	libs := make([]string, 0, 3)
	for _, l := range []string{"usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/syslog-ng"} {
		libs = append(libs, filepath.Join(root, l))
	}
	line := []string{"/usr/bin/env", "LD_LIBRARY_PATH=" + strings.Join(libs, ":"), filepath.Join(root, "usr/sbin", k.program), "-f", dir + "/conf"}
	if k.program == "rsyslogd" {
		return append(line, "-n", "-i", dir+"/pid", "-M", filepath.Join(root, "usr/lib/x86_64-linux-gnu/rsyslog"))
	}
	return append(line, "-F", "-e", "--no-caps", "-R", dir+"/persist", "-c", dir+"/ctl", "-p", dir+"/pid",
		"--module-path="+filepath.Join(root, "usr/lib/syslog-ng/3.38"))
}

// NewDaemon makes a daemon of the host, which does not run yet.
func NewDaemon(t *testing.T, h *Host, k daemonKind, socket string) *Daemon {
	t.Helper()
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/conf", []byte(k.config(socket, dir)), 0o644))
	return newDaemon(t, h, k.command(daemonsDir(), dir), dir+"/conf", socket, dir+"/log")
}

// daemonsIn are the lines of configuration that a container of LXC needs for
// daemons of its own.
func daemonsIn() []string {
	return []string{
		"lxc.mount.entry = " + daemonsDir() + " opt/daemons none ro,bind,create=dir 0 0",
		"lxc.mount.entry = /lib lib none ro,bind 0 0", // the other libraries that they are linked with
		"lxc.mount.entry = /usr/bin/env usr/bin/env none ro,bind,create=file 0 0",
	}
}

// NewDaemonIn makes a daemon of a running container, which has daemonsIn.
func NewDaemonIn(t *testing.T, c *LXC, k daemonKind, socket string) *Daemon {
	t.Helper()
	dir := "/etc/" + c.Name // so that its configuration's name is the only one
	check(t, os.Mkdir(filepath.Join(c.Rootfs, dir), 0o755))
	check(t, os.WriteFile(filepath.Join(c.Rootfs, dir, "conf"), []byte(k.config(socket, dir)), 0o644))
	args := c.Args("lxc-attach", append([]string{"--clear-env", "--"}, k.command("/opt/daemons", dir)...)...)
	return newDaemon(t, c.h, args, dir+"/conf", socket, filepath.Join(c.Rootfs, dir, "log"))
}

func newDaemon(t *testing.T, h *Host, args []string, file, socket, log string) *Daemon {
	d := &Daemon{t: t, h: h, args: args, file: file, Socket: socket, Log: log}
	t.Cleanup(func() {
		if d.pid != 0 && !t.Failed() {
			d.Stop()
		}
	})
	return d
}

// Start starts the daemon and waits until it listens at its name.
func (d *Daemon) Start() {
	d.t.Helper()
	cmd := d.h.Command(context.Background(), d.args...) // it is stopped after the test's context
	d.said.Reset()
	cmd.Stdout, cmd.Stderr = &d.said, &d.said
	check(d.t, cmd.Start())
	d.ended = make(chan error, 1)
	go func() { d.ended <- cmd.Wait() }()
	eventually(d.t, d.file+" listens on "+d.Socket, func() bool {
		select {
		case err := <-d.ended:
			d.t.Fatalf("%q ended: %v\n%s", d.args, err, &d.said)
		default:
		}
		d.pid = d.find()
		return d.pid != 0 && listens(d.h, d.pid, d.Socket)
	})
}

// find is the daemon's process ID on the host, 0 if it is not seen.
func (d *Daemon) find() int {
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
	// Also after the end of the test's context.
	check(d.t, d.h.Command(context.Background(), "kill", "-TERM", strconv.Itoa(d.pid)).Run())
	d.pid = 0
	eventually(d.t, d.file+" has ended", func() bool { return len(d.ended) == 1 })
	if err := <-d.ended; err != nil {
		d.t.Errorf("end of %q: %v\n%s", d.args, err, &d.said)
	}
}

// listens says whether a process of the host has a socket open that was bound
// under that name. Whether the name leads to it is another question.
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

// buildC compiles one of the test's own programs.
func buildC(t *testing.T, source string) string {
	t.Helper()
	need(t, "gcc")
	program := filepath.Join(t.TempDir(), strings.TrimSuffix(filepath.Base(source), ".c"))
	check(t, command("gcc", "-O1", "-Wall", "-Werror", "-static", "-o", program, source))
	return program
}

// background runs a program on the host that ends when its standard input does;
// end ends that and returns what the program has written.
func background(t *testing.T, h *Host, args ...string) (end func() string) {
	t.Helper()
	cmd := h.Command(t.Context(), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	return func() string {
		t.Helper()
		check(t, in.Close())
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, &out)
		}
		return out.String()
	}
}

// waitAtMost is waitFor for what may well not come.
func waitAtMost(limit time.Duration, done func() bool) bool {
	end := time.Now().Add(limit)
	came := false
	_ = waitFor(func() bool {
		came = done()
		return came || time.Now().After(end)
	})
	return came
}
