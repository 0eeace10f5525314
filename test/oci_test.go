package test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// promptly is how soon a receiver has to end with its container. It promises
// one second; a loaded machine may need more.
const promptly = 5 * time.Second

// eachOCI runs a test with every runtime and every host-side stage.
func eachOCI(t *testing.T, test func(t *testing.T, h *Host, runtime, stage string)) {
	for _, runtime := range []string{"runc", "crun"} {
		for _, stage := range []string{"prestart", "createRuntime"} {
			t.Run(runtime+"/"+stage, func(t *testing.T) {
				needContainers(t, runtime)
				test(t, NewHost(t), runtime, stage)
			})
		}
	}
}

// hostTree is all that the host and its containers share or could leave, but
// for terminals and LXC's locks, which come and go.
func hostTree(h *Host) []string {
	h.t.Helper()
	return h.Tree([]string{"/dev/pts", "/run/lxc"}, "/dev", "/run", "/var/log")
}

// expectNew compares the host's tree to one from before; added is what is
// expected to be new in it, without modes.
func expectNew(t *testing.T, h *Host, before []string, added ...string) {
	t.Helper()
	after := hostTree(h)
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("the host lost %q", line)
		}
	}
	var got []string
	for _, line := range after {
		if !slices.Contains(before, line) {
			_, name, _ := strings.Cut(line, " ")
			if name != "/var/log/devlog/by-name" { // it stays, for the links of other containers
				got = append(got, name)
			}
		}
	}
	if slices.Contains(added, linked) && slices.Contains(got, "/dev/.devlog-host") {
		got = withoutPrepared(t, h, got)
	}
	slices.Sort(added)
	slices.Sort(got)
	if !slices.Equal(got, added) {
		t.Errorf("new on the host: %q, want %q", got, added)
	}
}

// linked is how a container with our hook on the host leaves /dev/log where nobody
// listened.
const linked = "/dev/log -> /run/devlog/log"

// withoutPrepared are names that are new on the host, but for those of a host that
// is prepared, as it is where a repair from the host makes that link.
func withoutPrepared(t *testing.T, h *Host, names []string) []string {
	t.Helper()
	if to, err := os.Readlink(h.Path("/run/devlog/log")); err != nil || to != "/dev/.devlog-host" {
		t.Errorf("the host is half prepared: its link leads to %q, %v", to, err)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return name == "/dev/.devlog-host" || name == "/run/devlog" || name == "/run/devlog/log -> /dev/.devlog-host" ||
			strings.HasPrefix(name, "/run/devlog/.devlog-repair -> ")
	})
}

// ociLeaves is what a container with our hook leaves on a host without /dev/log.
func ociLeaves(id string) []string {
	return []string{linked, "/var/log/devlog", "/var/log/devlog/" + id, "/var/log/devlog/" + id + "/messages"}
}

// expectEmpty fails if a directory of a container's root holds anything.
func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	if len(entries) != 0 {
		t.Errorf("left in %s: %v", dir, entries)
	}
}

// expectReceiversEnd waits for the receivers' end, which has to be prompt.
func expectReceiversEnd(t *testing.T, h *Host) {
	t.Helper()
	start := time.Now()
	eventually(t, "the receivers have ended with the containers", func() bool { return len(h.Receivers()) == 0 })
	if took := time.Since(start); took > promptly {
		t.Errorf("the receivers took %v to end", took)
	}
}

// A container that sends as much as it can and ends at once: each message is
// written, from the first on, and the runtime's foreground command ends.
func TestOCIRun(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		before := hostTree(h)
		c := NewOCI(t, h, runtime, "c1", threeClients("a")+"client -n 2000 burst 13 burst; exit 6")
		c.Hook(stage)
		c.Write()
		if r := h.Do(c.Args("run")...); r.Code != 6 {
			t.Fatalf("run: %+v", r)
		}
		expectReceiversEnd(t, h)
		want := threeTexts("a")
		for i := 1; i <= 2000; i++ {
			want = append(want, fmt.Sprintf("burst %d.", i))
		}
		wantOnce(t, c.Log(), want...)
		expectNew(t, h, before, ociLeaves("c1")...)
		expectEmpty(t, filepath.Join(c.Rootfs, "run"))
	})
}

// The receiver of a created container: it is there before the container's
// first process, and is a proper daemon of the host.
func TestOCICreateStart(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		before := hostTree(h)
		c := NewOCI(t, h, runtime, "c1", threeClients("a")+hold)
		c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
		c.Hook(stage)
		c.Write().Create()
		pids := h.Receivers()
		if len(pids) != 1 {
			t.Fatalf("receivers of a created container: %v", pids)
		}
		c.Start()
		wantOnce(t, c.Log(), threeTexts("a")...)
		expectDaemon(t, h, pids[0], c)
		if r := c.Exec("readlink", "/dev/log"); r.Out != "/run/devlog/log\n" {
			t.Errorf("/dev/log in the container: %+v", r)
		}
		release(t, c.Rootfs)
		c.WaitStopped()
		expectReceiversEnd(t, h)
		h.Must(c.Args("delete")...)
		expectNew(t, h, before, ociLeaves("c1")...)
	})
}

// expectDaemon checks what a receiver holds of the host and of its starter.
func expectDaemon(t *testing.T, h *Host, pid int, c *OCI) {
	t.Helper()
	proc := h.Path(fmt.Sprintf("/proc/%d", pid))
	for _, ns := range []string{"mnt", "pid"} {
		got, err := os.Readlink(proc + "/ns/" + ns)
		check(t, err)
		want, err := os.Readlink(h.Path("/proc/1/ns/" + ns))
		check(t, err)
		if got != want {
			t.Errorf("the receiver's %s namespace is not the host's", ns)
		}
	}
	stat, err := os.ReadFile(proc + "/stat")
	check(t, err)
	// After the name in parentheses: state, ppid, pgrp, session.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if fields[3] != fmt.Sprint(pid) {
		t.Errorf("the receiver's session is %s, want its own, %d", fields[3], pid)
	}
	if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("the receiver's working directory is %q, %v", cwd, err)
	}
	fds, err := os.ReadDir(proc + "/fd")
	check(t, err)
	pipes := map[string]int{}
	for _, fd := range fds {
		name := filepath.Join(proc, "fd", fd.Name())
		to, err := os.Readlink(name)
		if err != nil { // closed meanwhile
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			continue
		}
		if len(fd.Name()) == 1 && fd.Name() <= "2" {
			if st.Mode&unix.S_IFMT != unix.S_IFCHR || file.DeviceOf(&st) != unix.Mkdev(1, 3) {
				t.Errorf("the receiver's descriptor %s is %s, want /dev/null", fd.Name(), to)
			}
			continue
		}
		if strings.HasPrefix(to, "/memfd:devlogd: confined (") {
			continue
		}
		if strings.HasPrefix(to, "pipe:") {
			pipes[to]++
		} else if !ownFile(h, to, st, c) {
			t.Errorf("the receiver holds descriptor %s: %s", fd.Name(), to)
		}
	}
	for pipe, ends := range pipes {
		if ends != 2 { // both ends are how it wakes itself; one would be somebody else's
			t.Errorf("the receiver holds an end of %s", pipe)
		}
	}
}

// ownFile says whether a receiver has reason to hold an open file.
func ownFile(h *Host, link string, st unix.Stat_t, c *OCI) bool {
	_, pid := c.State()
	for _, own := range []string{"socket:", fmt.Sprintf("/proc/%d/mountinfo", pid), "pidfd:", "anon_inode:[pidfd]", "anon_inode:[eventpoll]", "anon_inode:[eventfd]",
		"anon_inode:inotify", "/sys/fs/cgroup/cpu", // the Go runtime looks how many processors it may use
		"/var/log/devlog/" + c.ID + "/", "/dev/kmsg"} {
		if strings.HasPrefix(link, own) {
			return true
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	// A directory has to be the container's: its root file system or its /run.
	for _, dir := range []string{"/", "/run"} {
		var of unix.Stat_t
		if unix.Stat(h.Path(fmt.Sprintf("/proc/%d/root%s", pid, dir)), &of) == nil && of.Dev == st.Dev {
			return true
		}
	}
	return false
}

// The output of the runtime's command reaches its end while the receiver lives.
func TestOCIOutputCloses(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		script := "exec </dev/null >/dev/null 2>&1; " + hold
		c := NewOCI(t, h, runtime, "c1", script)
		c.Hook(stage)
		h.Must(c.Write().Args("run", "--detach")...) // waits for the end of the output
		d := NewOCI(t, h, runtime, "c2", script)
		d.Hook(stage)
		d.Write()
		r, w, err := os.Pipe()
		check(t, err)
		cmd := h.Command(t.Context(), d.Args("create")...)
		cmd.Stdout, cmd.Stderr = w, w
		check(t, cmd.Run())
		check(t, w.Close())
		d.Start()
		check(t, r.SetReadDeadline(time.Now().Add(deadline)))
		if out, err := io.ReadAll(r); err != nil {
			t.Fatalf("create's output does not end: %q, %v; processes: %q", out, err, h.Processes())
		}
		check(t, r.Close())
		if n := len(h.Receivers()); n != 2 {
			t.Errorf("%d receivers for two containers", n)
		}
		for _, c := range []*OCI{c, d} {
			release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
		}
	})
}

// Two containers share /dev, and each one's messages are in its own log.
func TestOCINeighbours(t *testing.T) {
	eachOCI(t, func(t *testing.T, h *Host, runtime, stage string) {
		var cs []*OCI
		for _, id := range []string{"left", "right"} {
			c := NewOCI(t, h, runtime, id, threeClients(id)+hold)
			c.Hook(stage)
			c.Write().Create()
			cs = append(cs, c)
		}
		for _, c := range cs {
			c.Start()
		}
		for i, c := range cs {
			wantOnce(t, c.Log(), threeTexts(c.ID)...)
			wantNowhere(t, filepath.Dir(c.Log()), threeTexts(cs[1-i].ID)...)
		}
		for _, c := range cs {
			release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
		}
	})
}
