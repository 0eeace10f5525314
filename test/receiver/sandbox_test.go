package receiver

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// compromised starts a container with a receiver that, on command, does what an attacker in
// control of it would do. It returns the result of each attempt: "stopped" or "allowed".
func compromised(t *testing.T, h *host.Host, runtime string, flags ...string) (*host.OCI, map[string]string) {
	t.Helper()
	pid, end := newVictim(t, h)
	defer end()
	return compromisedBeside(t, h, runtime, pid, flags...)
}

// newVictim starts a process of root outside the container.
func newVictim(t *testing.T, h *host.Host) (pid string, end func()) {
	t.Helper()
	victim := h.Command(t.Context(), "sh", "-c", "echo $$; read x") // the shell's built-ins only
	input, err := victim.StdinPipe()
	host.Check(t, err)
	output, err := victim.StdoutPipe()
	host.Check(t, err)
	host.Check(t, victim.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	host.Check(t, err)
	return strings.TrimSpace(line), func() {
		_ = input.Close()
		_ = victim.Wait()
	}
}

// compromisedBeside is compromised with that process of the host as the victim.
func compromisedBeside(t *testing.T, h *host.Host, runtime, victim string, flags ...string) (*host.OCI, map[string]string) {
	t.Helper()
	installCompromised(t, h)
	c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("a")+host.Hold+host.ThreeClients("b"))
	c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	c.Hook("createRuntime", append([]string{"--receiver", "/run/bin/devlogd"}, flags...)...)
	host.Check(t, os.WriteFile(filepath.Join(c.Rootfs, "victim"), []byte("x"), 0o600))
	c.Write().Create()
	c.Start()
	host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	return c, attempts(t, h, pids[0], victim)
}

// installCompromised puts a receiver that does what an attacker would do, and what there is to
// attack, on the host.
func installCompromised(t *testing.T, h *host.Host) {
	t.Helper()
	h.Must("mkdir", "-p", "/run/bin", "/run/elsewhere", "/var/log/devlog/other")
	h.Must("cp", host.BuildReceiver(t, "compromised", "-tags", "compromise"), "/run/bin/devlogd")
	h.Must("sh", "-c", "echo x >/var/log/devlog/other/messages; echo x >/run/elsewhere/shadow; chmod 600 /run/elsewhere/shadow")
}

// attempts makes the receiver of the container c1 do what an attacker would do.
func attempts(t *testing.T, h *host.Host, pid int, victim string) map[string]string {
	t.Helper()
	name := fmt.Sprintf("@devlog-test-%d", os.Getpid())
	l, err := net.Listen("unix", name)
	host.Check(t, err)
	defer l.Close()
	dir := h.Path("/var/log/devlog/c1")
	in := "pid " + victim + "\nother /var/log/devlog/other/messages\nnew /run/elsewhere/new\nshadow /run/elsewhere/shadow\nfile victim\nabstract " + name + "\n"
	host.Check(t, os.WriteFile(filepath.Join(dir, "compromise.in"), []byte(in), 0o644))
	h.Must("kill", "-WINCH", fmt.Sprint(pid))
	var out []byte
	host.Eventually(t, "what the receiver could do", func() bool {
		out, err = os.ReadFile(filepath.Join(dir, "compromise.out"))
		return err == nil
	})
	t.Logf("%s", out)
	did := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 {
			did[f[0]] = f[1]
		}
	}
	return did
}

// The process of a host's node that reads messages may write the logs of all containers, and nothing
// else. As another user it may write only that user's files.
func TestCompromiseOfNode(t *testing.T) {
	for user, other := range map[string]string{"root": "allowed", "12345:54321": "stopped"} {
		t.Run(user, func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			installCompromised(t, h)
			h.Must("cp", host.HookOn(), "/run/bin/devlog-hook") // the node only runs the one beside it
			pid, end := newVictim(t, h)
			defer end()
			node := h.Command(t.Context(), "/run/bin/devlogd", "--node", "--user", user)
			host.Check(t, node.Start())
			defer func() {
				h.Do("pkill", "-KILL", "devlogd")
				_ = node.Wait()
			}()
			c := host.NewCheap(t, h, "c1", host.CheapOptions{})
			reader := 0
			host.Eventually(t, "the node receives", func() bool {
				for _, p := range h.Processes() {
					if f := strings.Fields(p); len(f) > 2 && f[2] == "--node-reader" {
						reader, _ = strconv.Atoi(f[0])
					}
				}
				return h.Do("/run/bin/devlog-hook", "repair", "--pid", strconv.Itoa(c.PID), "--name", "c1", "--receiver", "node").Code == 0 && reader > 0
			})
			c.WantSent(t, c.Log(false), "before")
			did := attempts(t, h, reader, pid)
			if len(did) < 21 {
				t.Errorf("only %d attempts: %v", len(did), did)
			}
			for name, what := range did {
				want := "stopped"
				if strings.HasSuffix(name, "-other") {
					want = other
				}
				if what != want {
					t.Errorf("%s: %s, want %s", name, what, want)
				}
			}
			c.WantSent(t, c.Log(false), "after")
		})
	}
}

// A compromised receiver cannot harm the host or another container. Without the sandbox it
// could.
func TestCompromise(t *testing.T) {
	for _, tt := range []struct{ name, want string }{{"auto", "stopped"}, {"on", "stopped"}, {"off", "allowed"}} {
		t.Run(tt.name, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			c, did := compromised(t, h, "runc", "--sandbox", tt.name)
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.WantOnce(t, c.Log(), host.ThreeTexts("b")...)
			if len(did) < 22 {
				t.Errorf("only %d attempts: %v", len(did), did)
			}
			for name, what := range did {
				if what != tt.want {
					t.Errorf("%s: %s, want %s", name, what, tt.want)
				}
			}
		})
	}
}

// Whatever a container puts in place of a receiver's outputs, such as links to the root
// directory, directories or devices, gives a later receiver no access to more.
func TestCompromiseBesideHostileDev(t *testing.T) {
	for name, hostile := range map[string]string{
		"links":       "ln -sfn / /dev/kmsg; ln -s / /dev/xconsole; ln -s / /dev/tty9; ln -s / /dev/sub",
		"directories": "rm /dev/kmsg; mkdir /dev/kmsg /dev/xconsole /dev/tty9; mount --bind / /dev/kmsg; mount --bind / /dev/xconsole; mount --bind / /dev/tty9",
		"devices":     "rm /dev/kmsg; mknod /dev/kmsg c 1 5; mknod /dev/tty9 c 1 5; ln -s /dev/zero /dev/xconsole",
	} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			h.Must("sh", "-c", hostile)
			c, did := compromised(t, h, "runc", "--rule", "*.* -/var/log/devlog/c1/messages", "--rule", "*.crit /dev/kmsg",
				"--rule", "kern.* |/dev/xconsole", "--rule", "kern.* |/dev/sub/x", "--rule", "kern.* /dev/tty9")
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			if len(did) < 22 {
				t.Errorf("only %d attempts: %v", len(did), did)
			}
			for what, came := range did {
				if came != "stopped" {
					t.Errorf("%s: %s", what, came)
				}
			}
		})
	}
}

// With a hostile /dev, and a container that sees the host's processes: a compromised receiver cannot
// harm that container, and that container reaches nothing through it.
func TestCompromiseBesideHostPID(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		t.Run(fmt.Sprintf("/proc mounted %t", mounted), func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			h.Must("sh", "-c", "ln -sfn / /dev/kmsg; ln -s / /dev/xconsole")
			neighbour, proc := host.Intruder(t, h, mounted)
			_, first := neighbour.State()
			c, did := compromisedBeside(t, h, "runc", strconv.Itoa(first), "--rule", "*.* -/var/log/devlog/c1/messages", "--rule", "kern.* |/dev/xconsole")
			if len(did) < 22 {
				t.Errorf("only %d attempts: %v", len(did), did)
			}
			for what, came := range did {
				if came != "stopped" {
					t.Errorf("%s: %s", what, came)
				}
			}
			if got := neighbour.Reached(proc, h.Receivers()[0]); len(got) != 0 {
				t.Errorf("the container reaches %q of the receiver", got)
			}
			for _, c := range []*host.OCI{c, neighbour} {
				host.Release(t, c.Rootfs)
				c.WaitStopped()
			}
			host.ExpectReceiversEnd(t, h)
		})
	}
}

// A compromised receiver cannot pass its container a handle of the host's root directory, which
// would open the host's files to root there: Landlock limits who opens a file, not who gets the
// handle. Without the sandbox it can.
func TestCompromisePassesHandles(t *testing.T) {
	for mode, want := range map[string]string{"auto": "operation not permitted", "off": "passed"} {
		t.Run(mode, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			c, _ := compromised(t, h, "runc", "--sandbox", mode)
			self, err := os.Executable()
			host.Check(t, err)
			h.Must("cp", self, filepath.Join(c.Rootfs, "catcher"))
			catcher := h.Command(t.Context(), c.Args("exec", c.ID, "/catcher", host.CatcherArg, "/run/catch", "run/elsewhere/shadow")...)
			out := &strings.Builder{}
			catcher.Stdout, catcher.Stderr = out, out
			host.Check(t, catcher.Start())
			_, pid := c.State()
			host.Eventually(t, "the container listens", func() bool {
				_, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/root/run/catch", pid)))
				return err == nil
			})
			dir := h.Path("/var/log/devlog/c1")
			did := filepath.Join(dir, "compromise.out")
			host.Check(t, os.Remove(did))
			in, err := os.ReadFile(filepath.Join(dir, "compromise.in"))
			host.Check(t, err)
			host.Check(t, os.WriteFile(filepath.Join(dir, "compromise.in"), append(in, "catch run/catch\n"...), 0o600))
			h.Must("kill", "-WINCH", fmt.Sprint(h.Receivers()[0]))
			host.Eventually(t, "what came of it is "+want, func() bool {
				text, err := os.ReadFile(did)
				return err == nil && string(text) == want
			})
			if mode == "off" { // the container has it, and reads the host's file
				if err := catcher.Wait(); err != nil || out.String() != "x\n" {
					t.Errorf("%v, %q", err, out)
				}
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped() // with all that runs in it
			if mode != "off" {
				if err := catcher.Wait(); err == nil || strings.Contains(out.String(), "x\n") {
					t.Errorf("%v, %q", err, out)
				}
			}
		})
	}
}

// A receiver whose repair mounts keeps only what that needs.
func TestCompromiseOfBind(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	_ = host.ListenOn(t, h, "/dev/log")
	c, did := compromised(t, h, "runc", "--strategy", "bind")
	for _, name := range []string{"mknod"} {
		if did[name] != "stopped" {
			t.Errorf("%s: %s", name, did[name])
		}
	}
	if did["mount"] != "allowed" {
		t.Errorf("the repair could not mount: %v", did)
	}
	_, pid := c.State()
	r := h.Do(filepath.Join(host.BinDir, "devlog-hook"), "check", "--pid", fmt.Sprint(pid))
	if want := "its repair mounts; prepare the host with devlog-hook repair --host"; !strings.Contains(r.Out, want) {
		t.Errorf("check says %q, want %q", r.Out, want)
	}
	host.Release(t, c.Rootfs)
	c.WaitStopped()
}

// check reports how the running receiver is confined.
func TestCheckSaysConfined(t *testing.T) {
	for name, tt := range map[string]struct {
		flags []string
		want  string
	}{
		"auto-repair":    {nil, "confined (capabilities dac_override, fowner, writes to /var/log/devlog/c1, the container only)"},
		"no auto-repair": {[]string{"--no-auto-repair"}, "confined (no capabilities, writes to /var/log/devlog/c1 only)"},
		"user":           {[]string{"--no-auto-repair", "--user", "12345:12345"}, "confined (capabilities dac_override, writes to /var/log/devlog/c1 only)"},
		"off":            {[]string{"--sandbox", "off"}, "not confined (--sandbox off)"},
	} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			before := host.Tree(h)
			c := host.NewOCI(t, h, "runc", "c1", host.ThreeClients("a")+host.Hold)
			c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
			c.Hook("prestart", tt.flags...)
			c.Write().Create()
			c.Start()
			host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
			_, pid := c.State()
			r := h.Do(filepath.Join(host.BinDir, "devlog-hook"), "check", "--pid", fmt.Sprint(pid))
			if want := fmt.Sprintf("\nreceiver  devlogd %d, %s; not restarted if killed\n", h.Receivers()[0], tt.want); !strings.Contains(r.Out, want) || r.Code != 0 {
				t.Errorf("check: %+v, want %q", r, want)
			}
			r = h.Do(filepath.Join(host.BinDir, "devlog-hook"), "check", "--json", "--pid", fmt.Sprint(pid))
			if want := `"confined": "` + tt.want + `"`; !strings.Contains(r.Out, want) {
				t.Errorf("check --json: %s, want %q", r.Out, want)
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
			host.ExpectNew(t, h, before, host.OCILeaves("c1")...)
		})
	}
}

// The watcher of a prepared host is confined too, and still repairs.
func TestHostWatcherConfined(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	_ = host.ListenOn(t, h, "/dev/log")
	hook := filepath.Join(host.BinDir, "devlog-hook")
	h.Must(hook, "repair", "--host", "--keep")
	var r host.Result
	host.Eventually(t, "check says that the watcher is confined", func() bool {
		r = h.Do(hook, "check", "--host")
		return strings.Contains(r.Out, ", confined (capabilities dac_override, fowner, writes ")
	})
	host.Check(t, os.Remove(h.Path("/dev/log")))
	_ = host.ListenOn(t, h, "/dev/log") // plays a restarted daemon
	host.Eventually(t, "the host is prepared again", func() bool {
		to, err := os.Readlink(h.Path("/dev/log"))
		return err == nil && to == "/run/devlog/log"
	})
	h.Must(hook, "undo", "--host")
}
