package runtimes

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

	"devlog/test/host"
)

// eachDevLog runs a test with every state of the host's /dev/log.
func eachDevLog(t *testing.T, test func(t *testing.T, h *host.Host, s host.DevLog)) {
	for _, s := range host.DevLogs {
		t.Run(s.Name, func(t *testing.T) {
			host.NeedContainers(t, "lxc")
			h := host.NewHost(t)
			s.Make(t, h)
			test(t, h, s)
		})
	}
}

// A container logs and ends at once: each message is written, and lxc-execute ends with the
// command's exit code.
func TestLXCExecute(t *testing.T) {
	eachDevLog(t, func(t *testing.T, h *host.Host, s host.DevLog) {
		before := host.Tree(h)
		c := host.NewLXC(t, h, "c1")
		for _, who := range []string{"first", "again"} { // the second run finds what the first has left
			if r := c.Execute(host.ThreeClients(who) + "readlink /dev/log; exit 5"); r.Code != 5 || r.Out != s.To+"\n" {
				t.Fatalf("lxc-execute: %+v", r)
			}
			host.WantOnce(t, c.Log(), host.ThreeTexts(who)...)
		}
		host.ExpectDev(t, h, before, s)
		host.WantNowhere(t, h.Path("/var/log"), append(host.ThreeTexts("first"), host.ThreeTexts("again")...)...)
	})
}

// Two containers at a time: the runtime's start returns while their receivers run, and each
// one's messages are in its own log only.
func TestLXCStart(t *testing.T) {
	eachDevLog(t, func(t *testing.T, h *host.Host, s host.DevLog) {
		before := host.Tree(h)
		cs := []*host.LXC{host.NewLXC(t, h, "left"), host.NewLXC(t, h, "right")}
		for _, who := range []string{"first", "again"} { // the second run finds what the first has left
			for _, c := range cs {
				host.Check(t, os.RemoveAll(filepath.Join(c.Rootfs, "tmp/hold")))
				c.Start(host.ThreeClients(c.Name+"-"+who) + host.Hold)
				if r := h.Do(c.Args("lxc-info", "-sH")...); r.Out != "RUNNING\n" {
					t.Errorf("lxc-info: %+v", r)
				}
			}
			for i, c := range cs {
				host.WantOnce(t, c.Log(), host.ThreeTexts(c.Name+"-"+who)...)
				other := host.ThreeTexts(cs[1-i].Name + "-" + who)
				host.WantNowhere(t, filepath.Join(c.Rootfs, "var/log"), other...)
				host.WantNowhere(t, h.Path("/var/log"), other...)
			}
			if n := len(h.Receivers()); n != 2 {
				t.Errorf("%d receivers for two containers: %q", n, h.Processes())
			}
			for _, c := range cs {
				host.Release(t, c.Rootfs)
				c.WaitStopped()
			}
			host.ExpectReceiversEnd(t, h)
		}
		host.ExpectDev(t, h, before, s)
	})
}

// Containers that start at the same moment, on an unprepared /dev, do not disturb each other.
func TestLXCTogether(t *testing.T) {
	eachDevLog(t, func(t *testing.T, h *host.Host, s host.DevLog) {
		before := host.Tree(h)
		ctx, cancel := context.WithTimeout(t.Context(), 2*host.Deadline)
		defer cancel()
		var cs []*host.LXC
		var cmds []*exec.Cmd
		for i := range 5 {
			name := fmt.Sprintf("n%d", i)
			c := host.NewLXC(t, h, name)
			cs = append(cs, c)
			cmds = append(cmds, h.Command(ctx, c.Args("lxc-execute", "--", "/bin/sh", "-c", host.ThreeClients(name))...))
		}
		outs := make([]bytes.Buffer, len(cmds)) // one each: they write at the same time
		for i, cmd := range cmds {
			cmd.Stdout, cmd.Stderr = &outs[i], &outs[i]
			host.Check(t, cmd.Start())
		}
		for i, cmd := range cmds {
			if err := cmd.Wait(); err != nil {
				log, rerr := os.ReadFile(filepath.Join(cs[i].Path, "log"))
				t.Fatalf("%s: %v\n%s\n%s%v", cs[i].Name, err, &outs[i], log, rerr)
			}
		}
		for i, c := range cs {
			host.WantOnce(t, c.Log(), host.ThreeTexts(c.Name)...)
			host.WantNowhere(t, filepath.Join(c.Rootfs, "var/log"), host.ThreeTexts(cs[(i+1)%len(cs)].Name)...)
		}
		host.ExpectDev(t, h, before, s)
	})
}

// lxc-start in the foreground ends with the container's init, and takes the
// receiver with it.
func TestLXCForeground(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	c := host.NewLXC(t, h, "c1")
	// The end of init kills the receiver, even if it has messages to write.
	script := host.ThreeClients("a") + "until busybox grep -q bb-a /var/log/messages; do sleep 0.05; done"
	if r := h.Do(c.Args("lxc-start", "-F", "--", "/bin/sh", "-c", script)...); r.Code != 0 { // not init's exit code
		t.Errorf("lxc-start -F: %+v", r)
	}
	host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
	host.ExpectReceiversEnd(t, h)
}

// lxc.environment is the only way to configure a start hook.
func TestLXCEnvironment(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	c := host.NewLXC(t, h, "c1", "lxc.environment = DEVLOG_RULE=*.* /var/log/other", "lxc.environment = DEVLOG_SOCKET=/run/own/log")
	if r := c.Execute(host.ThreeClients("a") + "readlink /dev/log"); r.Code != 0 || r.Out != "/run/own/log\n" {
		t.Fatalf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, filepath.Join(c.Rootfs, "var/log/other"), host.ThreeTexts("a")...)
	if _, err := os.Stat(c.Log()); err == nil {
		t.Error("the default log is written as well")
	}
}

// A link to a path of --adopt stays: containers' daemons listen there.
func TestLXCAdopt(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	host.Check(t, os.Symlink("/var/run/syslog-ng.sock", h.Path("/dev/log")))
	before := host.Tree(h)
	c := host.NewLXC(t, h, "c1", "lxc.environment = DEVLOG_ADOPT=/run/syslog-ng.sock")
	if r := c.Execute(host.ThreeClients("a") + "readlink /dev/log; readlink /var/run/syslog-ng.sock"); r.Code != 0 || r.Out != "/var/run/syslog-ng.sock\n/run/devlog/log\n" {
		t.Fatalf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
	if after := host.Tree(h); !slices.Equal(before, after) {
		t.Errorf("the host was\n%q\nand is\n%q", before, after)
	}
}

// The receiver of the start hook is a proper daemon in the container: it has no file of LXC or the
// host open, and its program is a copy.
func TestLXCDaemon(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	c := host.NewLXC(t, h, "c1")
	c.Start(host.ThreeClients("c1") + host.Hold)
	host.WantOnce(t, c.Log(), host.ThreeTexts("c1")...)
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	proc := h.Path(fmt.Sprintf("/proc/%d", pids[0]))
	if f := h.Stat(pids[0]); f[3] != fmt.Sprint(pids[0]) {
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
	host.Check(t, err)
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
	host.Release(t, c.Rootfs)
	c.WaitStopped()
	host.ExpectReceiversEnd(t, h)
}
