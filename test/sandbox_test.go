package test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// compromised starts a container with a receiver that does, when it is told to,
// what somebody would who has taken it over, and returns what came of each
// attempt: "stopped" or "allowed".
func compromised(t *testing.T, h *Host, runtime string, flags ...string) (*OCI, map[string]string) {
	t.Helper()
	h.Must("mkdir", "-p", "/run/bin", "/run/elsewhere", "/var/log/devlog/other")
	h.Must("cp", buildReceiver(t, "compromised", "-tags", "compromise"), "/run/bin/devlogd")
	h.Must("sh", "-c", "echo x >/var/log/devlog/other/messages; echo x >/run/elsewhere/shadow; chmod 600 /run/elsewhere/shadow")
	c := NewOCI(t, h, runtime, "c1", threeClients("a")+hold+threeClients("b"))
	c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	c.Hook("createRuntime", append([]string{"--receiver", "/run/bin/devlogd"}, flags...)...)
	check(t, os.WriteFile(filepath.Join(c.Rootfs, "victim"), []byte("x"), 0o600))
	c.Write().Create()
	c.Start()
	wantOnce(t, c.Log(), threeTexts("a")...)
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v", pids)
	}
	victim := h.Command(t.Context(), "sh", "-c", "echo $$; read x") // root's, outside
	input, err := victim.StdinPipe()
	check(t, err)
	output, err := victim.StdoutPipe()
	check(t, err)
	check(t, victim.Start())
	defer func() {
		_ = input.Close()
		_ = victim.Wait()
	}()
	pid, err := bufio.NewReader(output).ReadString('\n')
	check(t, err)
	name := fmt.Sprintf("@devlog-test-%d", os.Getpid())
	l, err := net.Listen("unix", name)
	check(t, err)
	defer l.Close()
	dir := h.Path("/var/log/devlog/c1")
	in := "pid " + pid + "other /var/log/devlog/other/messages\nnew /run/elsewhere/new\nshadow /run/elsewhere/shadow\nfile victim\nabstract " + name + "\n"
	check(t, os.WriteFile(filepath.Join(dir, "compromise.in"), []byte(in), 0o600))
	h.Must("kill", "-WINCH", fmt.Sprint(pids[0]))
	var out []byte
	eventually(t, "what the receiver could do", func() bool {
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
	return c, did
}

// A receiver of a hook that somebody has taken over can do nothing to the host,
// nor to another container. Without the sandbox it could do all of that.
func TestCompromise(t *testing.T) {
	for _, tt := range []struct{ name, want string }{{"auto", "stopped"}, {"on", "stopped"}, {"off", "allowed"}} {
		t.Run(tt.name, func(t *testing.T) {
			needContainers(t, "runc")
			h := NewHost(t)
			c, did := compromised(t, h, "runc", "--sandbox", tt.name)
			release(t, c.Rootfs)
			c.WaitStopped()
			wantOnce(t, c.Log(), threeTexts("b")...)
			if len(did) < 18 {
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

// Only what is needed for it is left to a receiver whose repair mounts.
func TestCompromiseOfBind(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	_ = listenOn(t, h, "/dev/log")
	c, did := compromised(t, h, "runc", "--strategy", "bind")
	for _, name := range []string{"mknod"} {
		if did[name] != "stopped" {
			t.Errorf("%s: %s", name, did[name])
		}
	}
	if did["mount"] != "allowed" {
		t.Errorf("what heals could not mount: %v", did)
	}
	_, pid := c.State()
	r := h.Do(filepath.Join(binDir, "devlog-hook"), "check", "--pid", fmt.Sprint(pid))
	if want := "its repair mounts; prepare the host with devlog-hook repair --host"; !strings.Contains(r.Out, want) {
		t.Errorf("check says %q, want %q", r.Out, want)
	}
	release(t, c.Rootfs)
	c.WaitStopped()
}
