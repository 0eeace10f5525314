package test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// defaultCaps are what engines give a container that asks for nothing
// (daemon/pkg/oci/caps/defaults.go of moby).
var defaultCaps = []string{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}

// intruder is a container with the engines' default capabilities that sees the
// host's processes: in its PID namespace (--pid=host), or in the host's /proc.
func intruder(t *testing.T, h *Host, mounted bool) (c *OCI, proc string) {
	t.Helper()
	c = NewOCI(t, h, "runc", "intruder", hold)
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
	c.Write().Create()
	c.Start()
	return c, proc
}

// reached are the names below /proc/PID that the container's root gets at, of those
// that lead to all that a process has.
func (c *OCI) reached(proc string, pid int) []string {
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

// A container that sees the host's processes gets nothing of a receiver on the
// host, which is root there with fewer capabilities than the container has.
func TestReceiverIsNotReached(t *testing.T) {
	for name, flags := range map[string][]string{
		"keeps the repair": nil,
		"no heal":          {"--no-heal"},
		"user":             {"--no-heal", "--user", "12345:12345"},
		"off":              {"--sandbox", "off"},
	} {
		for _, mounted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, /proc mounted %t", name, mounted), func(t *testing.T) {
				needContainers(t, "runc")
				h := NewHost(t)
				victim := NewOCI(t, h, "runc", "c1", threeClients("a")+hold)
				victim.Mount("/run", "tmpfs", "tmpfs", "mode=755")
				victim.Hook("createRuntime", flags...)
				victim.Write().Create()
				victim.Start()
				wantOnce(t, victim.Log(), threeTexts("a")...)
				c, proc := intruder(t, h, mounted)
				_, first := c.State()
				if got := c.reached(proc, first); len(got) != 7 {
					t.Fatalf("of its own process it reaches only %q", got)
				}
				pid := h.Receivers()[0]
				look := func(when string) {
					t.Helper()
					if got := c.reached(proc, pid); len(got) != 0 {
						t.Errorf("%s the container reaches %q of the receiver", when, got)
					}
				}
				look("at first")
				h.Must("kill", "-USR2", strconv.Itoa(pid))
				eventually(t, "the receiver has been upgraded", func() bool {
					text, err := os.ReadFile(victim.Log())
					return err == nil && strings.Contains(string(text), "upgraded to devlogd ")
				})
				look("after an upgrade")
				for _, c := range []*OCI{c, victim} {
					release(t, c.Rootfs)
					c.WaitStopped()
				}
				expectReceiversEnd(t, h)
			})
		}
	}
}

// Nor does one that tries at every instant, while the receiver executes a repair
// again and again, or is replaced.
func TestReceiverIsNeverReached(t *testing.T) {
	for _, tt := range []struct {
		name  string
		user  int
		flags []string
	}{{"root", 0, nil}, {"user", 12345, []string{"--no-heal", "--user", "12345:12345"}}} {
		t.Run(tt.name, func(t *testing.T) {
			needContainers(t, "runc")
			h := NewHost(t)
			victim := NewOCI(t, h, "runc", "c1", threeClients("a")+hold)
			victim.Mount("/run", "tmpfs", "tmpfs", "mode=755")
			victim.Hook("createRuntime", tt.flags...)
			victim.Write().Create()
			victim.Start()
			wantOnce(t, victim.Log(), threeTexts("a")...)
			pid := h.Receivers()[0]
			c, _ := intruder(t, h, false)
			self, err := os.Executable()
			check(t, err)
			h.Must("cp", self, filepath.Join(c.Rootfs, "prowler"))
			prowler := h.Command(t.Context(), c.Args("exec", c.ID, "/prowler", prowlerArg, strconv.Itoa(pid), strconv.Itoa(tt.user))...)
			out := &strings.Builder{}
			prowler.Stdout, prowler.Stderr = out, out
			in, err := prowler.StdinPipe()
			check(t, err)
			check(t, prowler.Start())
			for end, i := time.Now().Add(3*time.Second), 0; time.Now().Before(end); i++ {
				if tt.user == 0 {
					check(t, os.Remove(h.Path("/dev/log")))
				}
				h.Must("kill", "-USR2", strconv.Itoa(pid))
				eventually(t, "the receiver has repaired and was replaced", func() bool {
					_, err := os.Lstat(h.Path("/dev/log"))
					text, _ := os.ReadFile(victim.Log())
					return err == nil && strings.Count(string(text), "upgraded to devlogd ") > i
				})
			}
			check(t, in.Close())
			check(t, prowler.Wait())
			rounds, found, _ := strings.Cut(out.String(), "\n")
			if n, err := strconv.Atoi(rounds); err != nil || n < 1000 {
				t.Errorf("only %q rounds", rounds)
			}
			if found != "" {
				t.Errorf("it has reached:\n%s", found)
			}
			for _, c := range []*OCI{c, victim} {
				release(t, c.Rootfs)
				c.WaitStopped()
			}
			expectReceiversEnd(t, h)
		})
	}
}

// Nor is the host's root directory reached through a receiver that is started while it
// is still its own, at createContainer, nor through any other process of ours.
func TestStartIsNeverReached(t *testing.T) {
	for _, stage := range []string{"createRuntime", "createContainer", "startContainer"} {
		t.Run(stage, func(t *testing.T) {
			needContainers(t, "runc")
			h := NewHost(t)
			h.Must("touch", hostMark)
			c, _ := intruder(t, h, false)
			self, err := os.Executable()
			check(t, err)
			h.Must("cp", self, filepath.Join(c.Rootfs, "prowler"))
			prowler := h.Command(t.Context(), c.Args("exec", c.ID, "/prowler", prowlerArg, "all", "0")...)
			out := &strings.Builder{}
			prowler.Stdout, prowler.Stderr = out, out
			in, err := prowler.StdinPipe()
			check(t, err)
			check(t, prowler.Start())
			for i := range 8 {
				victim := NewOCI(t, h, "runc", fmt.Sprint("c", i), threeClients("a"))
				victim.Mount("/run", "tmpfs", "tmpfs", "mode=755")
				victim.Hook(stage)
				victim.Write()
				if r := h.Do(victim.Args("run")...); r.Code != 0 {
					t.Errorf("run: %+v", r)
				}
			}
			check(t, in.Close())
			check(t, prowler.Wait())
			_, found, _ := strings.Cut(out.String(), "\n")
			if found != "" {
				t.Errorf("it has reached:\n%s", found)
			}
			release(t, c.Rootfs)
			c.WaitStopped()
			expectReceiversEnd(t, h)
		})
	}
}

// hostMark is a file in the host's root directory alone.
const hostMark = "/run/mark-of-the-host"

// prowlerArg as an argument makes the test binary a user with root's capabilities
// who tries to reach all of a process and its children, or the host's root directory
// through any process: it is followed by the process ID or "all", and the user's ID.
const prowlerArg = "devlog-test-prowler"

// prowl tries until the standard input ends, and says how often and what it got.
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
			names, list = []string{"/root" + hostMark}, nil
			entries, _ := os.ReadDir("/proc") //nolint:errcheck // it is there
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

// becomeCapable makes this goroutine the user's, with the capabilities that it has.
func becomeCapable(uid int) error {
	runtime.LockOSThread() // both are a thread's own
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
