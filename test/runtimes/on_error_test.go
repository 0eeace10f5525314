package runtimes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// hindrances make a hook's repair fail, with these words. at returns the path of the receiver's files,
// on the host or in the container.
var hindrances = []struct {
	name string
	make func(t *testing.T, h *host.Host, rootfs string)
	flag string
	says string
}{
	{"typo", func(t *testing.T, _ *host.Host, rootfs string) {
		host.Check(t, os.WriteFile(filepath.Join(rootfs, "etc/devlogd.conf"), []byte("*.infoo /var/log/x\n"), 0o644))
	}, "", "infoo"},
	{"read-only", func(_ *testing.T, h *host.Host, rootfs string) {
		h.Must("mount", "-n", "-t", "tmpfs", "-o", "ro", "tmpfs", filepath.Join(rootfs, "var/log"))
	}, "", "read-only file system"},
	{"flag", func(*testing.T, *host.Host, string) {}, "--rulez", "rulez"},
}

// unrepaired is a container that runs although its hook could not repair.
type unrepaired struct {
	name   string
	pid    int
	denied bool                             // the kernel log, by its devices cgroup
	note   string                           // seen from the test
	exec   func(args ...string) host.Result // in the container
	end    func()
}

// A hook that cannot repair lets its container start, and reports why everywhere: in the container's
// note, in the kernel's log if it may write there, and by check, inside and outside.
func TestOnErrorStart(t *testing.T) {
	// newID returns an ID that no other container had: the kernel's log is the
	// machine's, and has the lines of all of them.
	newID := func() string { return strconv.FormatInt(time.Now().UnixNano(), 36) }
	script := "logger x; " + host.Hold
	oci := func(runtime, stage string) func(t *testing.T, h *host.Host, rootfs func(string), flag string) unrepaired {
		return func(t *testing.T, h *host.Host, prepare func(string), flag string) unrepaired {
			host.NeedContainers(t, runtime)
			id := newID()
			c := host.NewOCI(t, h, runtime, id, script)
			note := h.Path("/run/devlog/" + id + ".log")
			if stage == "startContainer" {
				prepare(c.Rootfs)
				note = filepath.Join(c.Rootfs, "run/devlog", id+".log")
			} else {
				prepare("/")
			}
			if c.Hook(stage); flag != "" {
				c.Hook(stage, flag)
			}
			c.Write().Create()
			c.Start()
			_, pid := c.State()
			return unrepaired{id, pid, stage == "startContainer", note, c.Exec, func() { host.End(t, h, c, c.Rootfs) }}
		}
	}
	lxc := func(onHost bool) func(t *testing.T, h *host.Host, prepare func(string), flag string) unrepaired {
		return func(t *testing.T, h *host.Host, prepare func(string), flag string) unrepaired {
			host.NeedContainers(t, "lxc")
			id := newID()
			var c *host.LXC
			note := h.Path("/run/devlog/" + id + ".log")
			if onHost {
				prepare("/")
				c = host.BareLXC(t, h, id, "lxc.hook.start-host = "+host.HookOn()+" "+flag)
			} else {
				line := "lxc.environment = TZ=UTC"
				if flag != "" { // LXC allows no arguments
					line = "lxc.environment = DEVLOG_RATE=rulez"
				}
				c = host.BareLXC(t, h, id, "lxc.hook.start = /opt/devlog/devlog-hook", line)
				prepare(c.Rootfs)
				note = filepath.Join(c.Rootfs, "run/devlog", id+".log")
			}
			c.Start(script)
			pid, err := strconv.Atoi(strings.TrimSpace(h.Must(c.Args("lxc-info", "-pH")...).Out))
			host.Check(t, err)
			return unrepaired{id, pid, false, note, c.Attach, func() {
				host.Release(t, c.Rootfs)
				c.WaitStopped()
			}}
		}
	}
	for kind, start := range map[string]func(t *testing.T, h *host.Host, prepare func(string), flag string) unrepaired{
		"runc": oci("runc", "prestart"), "crun": oci("crun", "createRuntime"), "runc inside": oci("runc", "startContainer"),
		"crun createContainer": oci("crun", "createContainer"), "lxc": lxc(false), "lxc on the host": lxc(true), "podman": startUnrepaired,
	} {
		for _, s := range hindrances {
			if kind == "crun createContainer" && s.name != "flag" {
				continue // the files are the container's, and the receiver finds that out
			}
			t.Run(kind+"/"+s.name, func(t *testing.T) {
				host.Need(t, "root")
				h := host.NewHost(t)
				host.Overlay(h, "/etc")
				c := start(t, h, func(rootfs string) {
					if rootfs == "/" && s.name == "typo" {
						h.Must("sh", "-c", "echo '*.infoo /var/log/x' >/etc/devlogd.conf")
						return
					}
					s.make(t, h, rootfs)
				}, s.flag)
				expectSaid(t, h, c, s.says)
				// A later success removes the note.
				if r := h.Do(host.HookOn(), "repair", "--pid", fmt.Sprint(c.pid), "--rule", "*.* /run/messages"); r.Code != 0 {
					t.Errorf("repair: %+v", r)
				}
				if host.Exists(c.note) {
					t.Error("the note is left")
				}
				c.end()
				host.ExpectReceiversEnd(t, h)
			})
		}
	}
}

// startUnrepaired is a container of podman's.
func startUnrepaired(t *testing.T, h *host.Host, prepare func(string), flag string) unrepaired {
	t.Helper()
	host.NeedContainers(t, "podman", "runc")
	prepare("/")
	var flags []string
	if flag != "" {
		flags = append(flags, flag)
	}
	dir := t.TempDir()
	rootfs := filepath.Join(dir, "rootfs")
	host.NewRootfs(t, rootfs)
	podman := host.NewPodman(t, h, "--hooks-dir", host.HooksD(t, []string{"prestart"}, flags...))
	h.Must(append(podman("run", "--detach", "--name", "web", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",
		"--volume", "/dev:/dev", "--volume", host.BinDir+":/opt/devlog:ro"), "--rootfs", rootfs, "/bin/sh", "-c", host.Hold)...)
	inspect := func(format string) string {
		return strings.TrimSpace(h.Must(podman("inspect", "--format", format, "web")...).Out)
	}
	pid, err := strconv.Atoi(inspect("{{.State.Pid}}"))
	host.Check(t, err)
	id := inspect("{{.Id}}")
	return unrepaired{id, pid, false, h.Path("/run/devlog/" + id + ".log"),
		func(args ...string) host.Result { return h.Do(append(podman("exec", "web"), args...)...) },
		func() {
			host.Release(t, rootfs)
			h.Do(podman("rm", "--force", "--time", "0", "web")...)
		}}
}

// expectSaid expects the reason in every place.
func expectSaid(t *testing.T, h *host.Host, c unrepaired, says string) {
	t.Helper()
	text, err := os.ReadFile(c.note)
	at, _, _ := strings.Cut(string(text), " ")
	if _, terr := time.Parse(time.RFC3339, at); err != nil || terr != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), says) {
		t.Errorf("the note: %q, %v, %v; want %q", text, err, terr, says)
	}
	found := false
	for line := range strings.Lines(h.Must("dmesg").Out) {
		_, words, ok := strings.Cut(line, "devlog-hook: container "+c.name+": ")
		found = found || ok && strings.Contains(words, says)
	}
	if found == c.denied {
		t.Errorf("said in the kernel's log: %v; want %q there: %v", found, says, !c.denied)
	}
	pid := fmt.Sprint(c.pid)
	for who, r := range map[string]host.Result{
		"check --pid": h.Do(host.HookOn(), "check", "--pid", pid), "check --host": h.Do(host.HookOn(), "check", "--host"),
	} {
		row := "hook      failed at 20"
		if who == "check --host" {
			row = "(process " + pid + "): hook failed at 20"
		}
		if r.Code != 1 || !strings.Contains(r.Out, row) || !strings.Contains(r.Out, says) {
			t.Errorf("%s: %+v; want %q", who, r, says)
		}
	}
	type hook struct {
		At     time.Time `json:"failed_at"`
		Reason string
	}
	var one struct{ Hook hook }
	host.Check(t, json.Unmarshal([]byte(h.Do(host.HookOn(), "check", "--json", "--pid", pid).Out), &one))
	var all struct{ Containers []struct{ Hook hook } }
	host.Check(t, json.Unmarshal([]byte(h.Do(host.HookOn(), "check", "--json", "--host").Out), &all))
	if !strings.Contains(one.Hook.Reason, says) || one.Hook.At.IsZero() || len(all.Containers) != 1 || all.Containers[0].Hook != one.Hook {
		t.Errorf("in JSON: %+v, %+v", one, all)
	}
	if inside := c.exec(host.HookIn, "check"); !strings.HasPrefix(c.note, h.Path("/run")) && !strings.Contains(inside.Out, says) {
		t.Errorf("check in the container: %+v", inside)
	}
}

// At the next start the hook repairs, and removes the container's note.
func TestOnErrorForgets(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	before := host.Tree(h)
	c := host.NewLXC(t, h, "c1")
	conf := filepath.Join(c.Rootfs, "etc/devlogd.conf")
	host.Check(t, os.WriteFile(conf, []byte("nonsense\n"), 0o644))
	if r := c.Execute("exit 5"); r.Code != 5 {
		t.Errorf("lxc-execute: %+v", r)
	}
	note := filepath.Join(c.Rootfs, "run/devlog/c1.log")
	if !host.Exists(note) {
		t.Error("no note")
	}
	host.Check(t, os.Remove(conf))
	if r := c.Execute(host.ThreeClients("a") + "exit 5"); r.Code != 5 {
		t.Errorf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
	host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
	host.ExpectReceiversEnd(t, h)
	host.ExpectNew(t, h, before, "/dev/log")
}

// A container with an unusable name, as LXC allows, starts, and the reason is in the usual places.
func TestOnErrorOddName(t *testing.T) {
	host.NeedContainers(t, "lxc")
	for _, onHost := range []bool{false, true} {
		h := host.NewHost(t)
		name := fmt.Sprintf("ö%d", time.Now().UnixNano())
		lines := []string{"lxc.hook.start = /opt/devlog/devlog-hook"}
		if onHost {
			lines = lxcOnHost(0, "")
		}
		c := host.BareLXC(t, h, name, append(lines, "lxc.uts.name = c1")...)
		c.Start(host.Hold)
		pid := strings.TrimSpace(h.Must(c.Args("lxc-info", "-pH")...).Out)
		note := "run/devlog/" + strings.Replace(name, "ö", "#303#266", 1) + ".log"
		if onHost {
			note = h.Path(note)
		} else {
			note = filepath.Join(c.Rootfs, note)
		}
		if text, err := os.ReadFile(note); err != nil || !strings.Contains(string(text), "bad container name") {
			t.Errorf("the note: %q, %v", text, err)
		}
		if out := h.Must("dmesg").Out; !strings.Contains(out, "devlog-hook: container "+name+": bad container name") {
			t.Errorf("the kernel's log does not say why %s has no syslog", name)
		}
		if r := h.Do(host.HookOn(), "check", "--pid", pid); !strings.Contains(r.Out, "hook      failed at ") || !strings.Contains(r.Out, "bad container name") {
			t.Errorf("check: %+v", r)
		}
		host.Release(t, c.Rootfs)
		c.WaitStopped()
	}
}
