package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// A container that sees the host's processes cannot reach anything of a receiver on the
// host, which is root there with fewer capabilities than the container.
func TestReceiverIsNotReached(t *testing.T) {
	for name, flags := range map[string][]string{
		"keeps the repair": nil,
		"no auto-repair":   {"--no-auto-repair"},
		"user":             {"--no-auto-repair", "--user", "12345:12345"},
		"off":              {"--sandbox", "off"},
	} {
		for _, mounted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, /proc mounted %t", name, mounted), func(t *testing.T) {
				host.NeedContainers(t, "runc")
				h := host.NewHost(t)
				victim := host.NewOCI(t, h, "runc", "c1", host.ThreeClients("a")+host.Hold)
				victim.Mount("/run", "tmpfs", "tmpfs", "mode=755")
				victim.Hook("createRuntime", flags...)
				victim.Write().Create()
				victim.Start()
				host.WantOnce(t, victim.Log(), host.ThreeTexts("a")...)
				c, proc := host.Intruder(t, h, mounted)
				_, first := c.State()
				if got := c.Reached(proc, first); len(got) != 7 {
					t.Fatalf("of its own process it reaches only %q", got)
				}
				pid := h.Receivers()[0]
				look := func(when string) {
					t.Helper()
					if got := c.Reached(proc, pid); len(got) != 0 {
						t.Errorf("%s the container reaches %q of the receiver", when, got)
					}
				}
				look("at first")
				h.Must("kill", "-USR2", strconv.Itoa(pid))
				host.Eventually(t, "the receiver has been upgraded", func() bool {
					text, err := os.ReadFile(victim.Log())
					return err == nil && strings.Contains(string(text), "upgraded to devlogd ")
				})
				look("after an upgrade")
				for _, c := range []*host.OCI{c, victim} {
					host.Release(t, c.Rootfs)
					c.WaitStopped()
				}
				host.ExpectReceiversEnd(t, h)
			})
		}
	}
}

// Nor can one that tries all the time, while the receiver executes repairs or is
// replaced.
func TestReceiverIsNeverReached(t *testing.T) {
	for _, tt := range []struct {
		name  string
		user  int
		flags []string
	}{{"root", 0, nil}, {"user", 12345, []string{"--no-auto-repair", "--user", "12345:12345"}}} {
		t.Run(tt.name, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			victim := host.NewOCI(t, h, "runc", "c1", host.ThreeClients("a")+host.Hold)
			victim.Mount("/run", "tmpfs", "tmpfs", "mode=755")
			victim.Hook("createRuntime", tt.flags...)
			victim.Write().Create()
			victim.Start()
			host.WantOnce(t, victim.Log(), host.ThreeTexts("a")...)
			pid := h.Receivers()[0]
			c, _ := host.Intruder(t, h, false)
			self, err := os.Executable()
			host.Check(t, err)
			h.Must("cp", self, filepath.Join(c.Rootfs, "prowler"))
			prowler := h.Command(t.Context(), c.Args("exec", c.ID, "/prowler", host.ProwlerArg, strconv.Itoa(pid), strconv.Itoa(tt.user))...)
			out := &strings.Builder{}
			prowler.Stdout, prowler.Stderr = out, out
			in, err := prowler.StdinPipe()
			host.Check(t, err)
			host.Check(t, prowler.Start())
			for end, i := time.Now().Add(3*time.Second), 0; time.Now().Before(end); i++ {
				if tt.user == 0 {
					host.Check(t, os.Remove(h.Path("/dev/log")))
				}
				h.Must("kill", "-USR2", strconv.Itoa(pid))
				host.Eventually(t, "the receiver has repaired and was replaced", func() bool {
					_, err := os.Lstat(h.Path("/dev/log"))
					text, _ := os.ReadFile(victim.Log())
					return err == nil && strings.Count(string(text), "upgraded to devlogd ") > i
				})
			}
			host.Check(t, in.Close())
			host.Check(t, prowler.Wait())
			rounds, found, _ := strings.Cut(out.String(), "\n")
			if n, err := strconv.Atoi(rounds); err != nil || n < 1000 {
				t.Errorf("only %q rounds", rounds)
			}
			if found != "" {
				t.Errorf("it has reached:\n%s", found)
			}
			for _, c := range []*host.OCI{c, victim} {
				host.Release(t, c.Rootfs)
				c.WaitStopped()
			}
			host.ExpectReceiversEnd(t, h)
		})
	}
}

// The container cannot reach the host's root directory through a receiver that starts at
// createContainer, when that directory is still its root, or through any other process of
// devlog.
func TestStartIsNeverReached(t *testing.T) {
	for _, stage := range []string{"createRuntime", "createContainer", "startContainer"} {
		t.Run(stage, func(t *testing.T) {
			host.NeedContainers(t, "runc")
			h := host.NewHost(t)
			h.Must("touch", host.HostMark)
			c, _ := host.Intruder(t, h, false)
			self, err := os.Executable()
			host.Check(t, err)
			h.Must("cp", self, filepath.Join(c.Rootfs, "prowler"))
			prowler := h.Command(t.Context(), c.Args("exec", c.ID, "/prowler", host.ProwlerArg, "all", "0")...)
			out := &strings.Builder{}
			prowler.Stdout, prowler.Stderr = out, out
			in, err := prowler.StdinPipe()
			host.Check(t, err)
			host.Check(t, prowler.Start())
			for i := range 8 {
				victim := host.NewOCI(t, h, "runc", fmt.Sprint("c", i), host.ThreeClients("a"))
				victim.Mount("/run", "tmpfs", "tmpfs", "mode=755")
				victim.Hook(stage)
				victim.Write()
				if r := h.Do(victim.Args("run")...); r.Code != 0 {
					t.Errorf("run: %+v", r)
				}
			}
			host.Check(t, in.Close())
			host.Check(t, prowler.Wait())
			_, found, _ := strings.Cut(out.String(), "\n")
			if found != "" {
				t.Errorf("it has reached:\n%s", found)
			}
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			host.ExpectReceiversEnd(t, h)
		})
	}
}
