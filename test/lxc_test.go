package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// devLog is a state of a host's /dev/log that a container finds.
type devLog struct {
	name string
	make func(t *testing.T, h *Host)
	// to is where /dev/log leads in the container in the end; stays says that the
	// host's is what it was. Else the host has a socket there in the end, where nobody
	// listens, and over which the link is mounted.
	to    string
	stays bool
}

// The host's journal lives in the third: nothing may reach it.
var devLogs = []devLog{
	{"absent", func(*testing.T, *Host) {}, "/run/devlog/log", false},
	{"stale socket", staleSocket, "/run/devlog/log", false},
	{"journal", journal, "/run/systemd/journal/dev-log", true},
	{"dangling link", func(t *testing.T, h *Host) {
		check(t, os.Symlink("/run/elsewhere/log", h.Path("/dev/log")))
	}, "/run/devlog/log", true},
}

// staleSocket leaves a socket at the host's /dev/log that nobody listens at.
func staleSocket(t *testing.T, h *Host) { staleSocketAt(t, h.Path("/dev/log")) }

func staleSocketAt(t *testing.T, path string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	check(t, unix.Close(fd))
}

// journal makes the host one with systemd: /dev/log points to its journal.
func journal(t *testing.T, h *Host) {
	dir := "/run/systemd/journal"
	check(t, os.MkdirAll(h.Path(dir), 0o755))
	_ = listen(t, h.Path(dir+"/dev-log"))
	check(t, os.Symlink(dir+"/dev-log", h.Path("/dev/log")))
}

// eachDevLog runs a test with every state of the host's /dev/log.
func eachDevLog(t *testing.T, test func(t *testing.T, h *Host, s devLog)) {
	for _, s := range devLogs {
		t.Run(s.name, func(t *testing.T) {
			needContainers(t, "lxc")
			h := NewHost(t)
			s.make(t, h)
			test(t, h, s)
		})
	}
}

// expectDev compares the host to what it was before, and to what a container
// with our hook is to leave there.
func expectDev(t *testing.T, h *Host, before []string, s devLog) {
	t.Helper()
	var got []string
	for _, line := range hostTree(h) {
		if !strings.Contains(line, " /dev/log") {
			got = append(got, line)
		} else if s.stays && !slices.Contains(before, line) {
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
	if !s.stays && (err != nil || info.Mode().Type() != os.ModeSocket || canConnect(h.Path("/dev/log"))) {
		t.Errorf("/dev/log is %v, %v, want a socket where nobody listens", info, err)
	}
}

// A container that logs and ends at once: each message is written, from the
// first on, and lxc-execute ends, with the command's exit code.
func TestLXCExecute(t *testing.T) {
	eachDevLog(t, func(t *testing.T, h *Host, s devLog) {
		before := hostTree(h)
		c := NewLXC(t, h, "c1")
		for _, who := range []string{"first", "again"} { // the second time it finds what the first has left
			if r := c.Execute(threeClients(who) + "readlink /dev/log; exit 5"); r.Code != 5 || r.Out != s.to+"\n" {
				t.Fatalf("lxc-execute: %+v", r)
			}
			wantOnce(t, c.Log(), threeTexts(who)...)
		}
		expectDev(t, h, before, s)
		wantNowhere(t, h.Path("/var/log"), append(threeTexts("first"), threeTexts("again")...)...)
	})
}

// Two containers at a time: their start is complete while their receivers
// live, and each one's messages are in its own log and nowhere else.
func TestLXCStart(t *testing.T) {
	eachDevLog(t, func(t *testing.T, h *Host, s devLog) {
		before := hostTree(h)
		cs := []*LXC{NewLXC(t, h, "left"), NewLXC(t, h, "right")}
		for _, who := range []string{"first", "again"} { // the second time it finds what the first has left
			for _, c := range cs {
				check(t, os.RemoveAll(filepath.Join(c.Rootfs, "tmp/hold")))
				c.Start(threeClients(c.Name+"-"+who) + hold)
				if r := h.Do(c.Args("lxc-info", "-sH")...); r.Out != "RUNNING\n" {
					t.Errorf("lxc-info: %+v", r)
				}
			}
			for i, c := range cs {
				wantOnce(t, c.Log(), threeTexts(c.Name+"-"+who)...)
				other := threeTexts(cs[1-i].Name + "-" + who)
				wantNowhere(t, filepath.Join(c.Rootfs, "var/log"), other...)
				wantNowhere(t, h.Path("/var/log"), other...)
			}
			if n := len(h.Receivers()); n != 2 {
				t.Errorf("%d receivers for two containers: %q", n, h.Processes())
			}
			for _, c := range cs {
				release(t, c.Rootfs)
				c.WaitStopped()
			}
			expectReceiversEnd(t, h)
		}
		expectDev(t, h, before, s)
	})
}

// Containers that start at the same moment, on a /dev where nothing is prepared,
// do not get into each other's way.
func TestLXCTogether(t *testing.T) {
	eachDevLog(t, func(t *testing.T, h *Host, s devLog) {
		before := hostTree(h)
		ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
		defer cancel()
		var cs []*LXC
		var cmds []*exec.Cmd
		for i := range 5 {
			name := fmt.Sprintf("n%d", i)
			c := NewLXC(t, h, name)
			cs = append(cs, c)
			cmds = append(cmds, h.Command(ctx, c.Args("lxc-execute", "--", "/bin/sh", "-c", threeClients(name))...))
		}
		outs := make([]bytes.Buffer, len(cmds)) // one each: they write at the same time
		for i, cmd := range cmds {
			cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
			check(t, cmd.Start())
		}
		for i, cmd := range cmds {
			if err := cmd.Wait(); err != nil {
				log, rerr := os.ReadFile(filepath.Join(cs[i].path, "log"))
				t.Fatalf("%s: %v\n%s\n%s%v", cs[i].Name, err, &outs[i], log, rerr)
			}
		}
		for i, c := range cs {
			wantOnce(t, c.Log(), threeTexts(c.Name)...)
			wantNowhere(t, filepath.Join(c.Rootfs, "var/log"), threeTexts(cs[(i+1)%len(cs)].Name)...)
		}
		expectDev(t, h, before, s)
	})
}

// lxc-start in the foreground ends with the container's init, and takes the
// receiver with it.
func TestLXCForeground(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	c := NewLXC(t, h, "c1")
	// The end of init kills the receiver, whatever it has still to write.
	script := threeClients("a") + "until busybox grep -q bb-a /var/log/messages; do sleep 0.05; done"
	if r := h.Do(c.Args("lxc-start", "-F", "--", "/bin/sh", "-c", script)...); r.Code != 0 { // not init's exit code
		t.Errorf("lxc-start -F: %+v", r)
	}
	wantOnce(t, c.Log(), threeTexts("a")...)
	expectReceiversEnd(t, h)
}

// lxc.environment is the only way to configure a start hook.
func TestLXCEnvironment(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	c := NewLXC(t, h, "c1", "lxc.environment = DEVLOG_RULE=*.* /var/log/other", "lxc.environment = DEVLOG_SOCKET=/run/own/log")
	if r := c.Execute(threeClients("a") + "readlink /dev/log"); r.Code != 0 || r.Out != "/run/own/log\n" {
		t.Fatalf("lxc-execute: %+v", r)
	}
	wantOnce(t, filepath.Join(c.Rootfs, "var/log/other"), threeTexts("a")...)
	if _, err := os.Stat(c.Log()); err == nil {
		t.Error("the default log is written as well")
	}
}

// A link to a place that the administrator lists stays for all: a host whose
// containers have their daemons listen there.
func TestLXCAdopt(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	check(t, os.Symlink("/var/run/syslog-ng.sock", h.Path("/dev/log")))
	before := hostTree(h)
	c := NewLXC(t, h, "c1", "lxc.environment = DEVLOG_ADOPT=/run/syslog-ng.sock")
	if r := c.Execute(threeClients("a") + "readlink /dev/log; readlink /var/run/syslog-ng.sock"); r.Code != 0 || r.Out != "/var/run/syslog-ng.sock\n/run/devlog/log\n" {
		t.Fatalf("lxc-execute: %+v", r)
	}
	wantOnce(t, c.Log(), threeTexts("a")...)
	if after := hostTree(h); !slices.Equal(before, after) {
		t.Errorf("the host was\n%q\nand is\n%q", before, after)
	}
}

// The receiver that the start hook has started is a proper daemon of the
// container: it holds nothing of LXC's or the host's, and its program is a copy.
func TestLXCDaemon(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	c := NewLXC(t, h, "c1")
	c.Start(threeClients("c1") + hold)
	wantOnce(t, c.Log(), threeTexts("c1")...)
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	proc := h.Path(fmt.Sprintf("/proc/%d", pids[0]))
	if f := h.stat(pids[0]); f[3] != fmt.Sprint(pids[0]) {
		t.Errorf("the receiver's session is %s, want its own, %d", f[3], pids[0])
	}
	read := func(name string) string {
		to, err := os.Readlink(filepath.Join(proc, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return to
	}
	if cwd, root := read("cwd"), read("root"); cwd != root { // as the host's root sees them
		t.Errorf("its working directory is %s, its root %s", cwd, root)
	}
	if exe := read("exe"); exe != "/memfd:devlogd (deleted)" {
		t.Errorf("its program is %s", exe)
	}
	pid := strings.TrimSpace(h.Must(c.Args("lxc-info", "-pH")...).Out)
	for _, ns := range []string{"mnt", "pid", "net", "uts"} {
		if of, err := os.Readlink(h.Path("/proc/" + pid + "/ns/" + ns)); err != nil || of != read("ns/"+ns) {
			t.Errorf("its %s namespace is %s, the container's %s, %v", ns, read("ns/"+ns), of, err)
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	check(t, err)
	own := regexp.MustCompile(`^(socket:|pipe:|anon_inode:|/memfd:devlogd|/dev/kmsg$|/proc/\d+/mountinfo$|.*/var/log/messages$|/run(/|$)|/$|` + regexp.QuoteMeta(c.Rootfs) + `(/run|$))`)
	pipes := map[string]int{}
	for _, fd := range fds {
		switch to := read("fd/" + fd.Name()); {
		case len(fd.Name()) == 1 && fd.Name() <= "2":
			if to != "/dev/null" {
				t.Errorf("its descriptor %s is %s", fd.Name(), to)
			}
		case to != "" && !own.MatchString(to):
			t.Errorf("it holds descriptor %s: %s", fd.Name(), to)
		case strings.HasPrefix(to, "pipe:"):
			pipes[to]++
		}
	}
	for pipe, ends := range pipes {
		if ends != 2 {
			t.Errorf("it holds one end of %s", pipe)
		}
	}
	release(t, c.Rootfs)
	c.WaitStopped()
	expectReceiversEnd(t, h)
}
