package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// bindTest is a container on an unprepared host whose daemon listens on /dev/log:
// nothing may change for the host.
type bindTest struct {
	t       *testing.T
	h       *host.Host
	receive func() string
	before  host.World
	sent    int
}

// newBind makes the host. With shared, its /dev and all other mounts of it are peers:
// what is mounted in one appears in all.
func newBind(t *testing.T, h *host.Host, shared bool) *bindTest {
	t.Helper()
	if shared {
		h.Must("mount", "-n", "--make-rshared", "/dev")
	}
	b := &bindTest{t: t, h: h, receive: host.Listen(t, h.Path("/dev/log"))}
	b.before = host.Look(t, h)
	return b
}

// expectUnharmed fails if anything has changed for the host: only its own messages reach
// its daemon, and names and mounts are as before.
func (b *bindTest) expectUnharmed() {
	b.t.Helper()
	b.sent++
	text := fmt.Sprintf("of the host %d", b.sent)
	b.h.Must(host.Client, "host", "13", text)
	if got := b.receive(); !strings.HasSuffix(got, ": "+text) {
		b.t.Errorf("the host's daemon received %q, want %q", got, text)
	}
	after := host.Look(b.t, b.h)
	host.ExpectSame(b.t, "the host", b.before.Host, after.Host)
	host.ExpectSame(b.t, "the host's mount table", b.before.HostMounts, after.HostMounts)
	if len(b.before.HostMounts) != len(after.HostMounts) {
		b.t.Errorf("the host has %d mounts, had %d", len(after.HostMounts), len(b.before.HostMounts))
	}
}

// eachPropagation runs a test on hosts whose /dev has peers, or none.
func eachPropagation(t *testing.T, test func(t *testing.T, shared bool)) {
	for _, shared := range []bool{false, true} {
		t.Run(map[bool]string{false: "private", true: "shared"}[shared]+" mounts", func(t *testing.T) { test(t, shared) })
	}
}

// The hook of LXC runs in the container, and may mount there.
func TestEngineBindLXC(t *testing.T) {
	eachPropagation(t, func(t *testing.T, shared bool) {
		host.NeedContainers(t, "lxc")
		h := host.NewHost(t)
		b := newBind(t, h, shared)
		c := host.NewLXC(t, h, "c1")
		c.Start(host.ThreeClients("c1") + host.Hold)
		host.WantOnce(t, c.Log(), host.ThreeTexts("c1")...)
		b.expectUnharmed()
		if r := c.Attach("/bin/readlink", "/dev/log"); r.Out != "/run/devlog/log\n" {
			t.Errorf("/dev/log in the container: %+v", r)
		}
		host.Release(t, c.Rootfs)
		c.WaitStopped()
		host.ExpectReceiversEnd(t, h)
		b.expectUnharmed()
	})
}

// The hook of an OCI runtime runs on the host, and the container may not mount.
func TestEngineBindOCI(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		eachPropagation(t, func(t *testing.T, shared bool) {
			host.NeedContainers(t, runtime)
			h := host.NewHost(t)
			b := newBind(t, h, shared)
			c := host.NewOCI(t, h, runtime, "c1", host.ThreeClients("c1")+host.Hold)
			c.Hook("prestart")
			// Its mounts have the host's for peers, not for masters, as with
			// rshared volumes.
			c.Config["linux"].(map[string]any)["rootfsPropagation"] = map[bool]string{true: "shared", false: "private"}[shared]
			c.Write().Create()
			b.expectUnharmed()
			c.Start()
			host.WantOnce(t, c.Log(), host.ThreeTexts("c1")...)
			if r := c.Exec("readlink", "/dev/log"); r.Out != "/run/devlog/log\n" {
				t.Errorf("/dev/log in the container: %+v", r)
			}
			b.expectUnharmed()
			host.Release(t, c.Rootfs)
			c.WaitStopped()
			h.Must(c.Args("delete")...)
			host.ExpectReceiversEnd(t, h)
			b.expectUnharmed()
			host.ExpectEmpty(t, filepath.Join(c.Rootfs, "run"))
		})
	}
}

// A /dev whose mount is a peer of the host's: what is mounted on one appears on the
// other, unless the repair makes it private first.
func TestEngineBindPeers(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("inside %t", inside), func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			b := newBind(t, h, true)
			c := host.NewCheap(t, h, "c1", host.CheapOptions{})
			if mounts := strings.Join(host.Table(t, h, c.PID), "\n"); !strings.Contains(mounts, " /dev rw,relatime shared:") {
				t.Fatalf("the container's /dev has no peers:\n%s", mounts)
			}
			if r := c.Hook(inside, "repair", "--no-auto-repair"); r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by bind:") {
				t.Fatalf("repair: %+v", r)
			}
			c.WantSent(t, c.Log(inside), "with-peers")
			b.expectUnharmed()
			if r := c.Hook(inside, "undo"); r.Code != 0 {
				t.Errorf("undo: %+v", r)
			}
			b.expectUnharmed()
			if r := c.Hook(inside, "repair", "--no-auto-repair"); r.Code != 0 {
				t.Errorf("repair: %+v", r)
			}
			c.Stop()
			host.ExpectReceiversEnd(t, h)
			b.expectUnharmed()
		})
	}
}

// On a read-only /dev only a mount helps. A dangling link is covered itself, not its target.
func TestEngineBindReadOnly(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, h *host.Host){"live": host.LiveSocket, "stale": host.StaleSocket, "dangling": danglingLink} {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/inside %t", name, inside), func(t *testing.T) {
				host.NeedContainers(t)
				h := host.NewHost(t)
				make(t, h)
				c := host.NewCheap(t, h, "c1", host.CheapOptions{Dev: "mount -n --bind /dev dev; mount -n -o remount,bind,ro dev"})
				before := host.Look(t, h, c)
				var flags []string
				if name == "dangling" { // which could also be adopted
					flags = []string{"--strategy", "bind"}
				}
				r := c.Hook(inside, append([]string{"repair", "--no-auto-repair"}, flags...)...)
				if r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by bind:") {
					t.Fatalf("repair: %+v", r)
				}
				c.WantSent(t, c.Log(inside), "read-only")
				after := host.Look(t, h)
				host.ExpectSame(t, "the host", before.Host, after.Host)
				if to := c.Sh("readlink /dev/log"); to != "/run/devlog/log\n" {
					t.Errorf("/dev/log points to %q", to)
				}
				host.ExpectUndone(t, h, c, inside, before)
			})
		}
	}
}

// A daemon of the container's own listens at the private socket, and may bind
// it again as often as it likes.
func TestEngineBindOwnDaemon(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	b := newBind(t, h, false)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	r := c.Hook(false, "repair", "--no-auto-repair", "--receiver", "none")
	if r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by bind:") {
		t.Fatalf("repair: %+v", r)
	}
	if n := len(h.Receivers()); n != 0 {
		t.Errorf("%d receivers", n)
	}
	for i := range 3 {
		c.Sh("rm -f /run/devlog/log")
		receive := host.Listen(t, c.Path("/run/devlog/log"))
		text := fmt.Sprintf("bound %d", i)
		c.Sh("client own 13 '" + text + "'")
		if got := receive(); !strings.HasSuffix(got, ": "+text) {
			t.Errorf("received %q, want %q", got, text)
		}
		b.expectUnharmed()
	}
	mounts := host.Table(t, h, c.PID)
	if r := c.Hook(false, "repair", "--no-auto-repair", "--receiver", "none"); r.Code != 0 || !slices.Equal(mounts, host.Table(t, h, c.PID)) {
		t.Errorf("the second repair: %+v", r)
	}
}

// When the host's daemon replaces /dev/log, the receiver itself mounts the link again at once:
// until a repair the container's messages would go to the host.
func TestEngineBindRemounts(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("inside %t", inside), func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			bin := t.TempDir()
			for _, name := range []string{"devlogd", "devlog-hook"} {
				host.Check(t, host.Command("cp", filepath.Join(host.BinDir, name), bin))
			}
			host.Check(t, os.Chmod(bin, 0o755))
			host.LiveSocket(t, h)
			c := host.NewCheap(t, h, "c1", host.CheapOptions{Bin: bin})
			if r := c.Hook(inside, "repair"); r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by bind:") {
				t.Fatalf("repair: %+v", r)
			}
			host.Check(t, os.Remove(filepath.Join(bin, "devlog-hook"))) // so that no repair can be run
			host.Eventually(t, "the receiver watches", func() bool { return watches(t, h, h.Receivers()[0]) })
			host.Check(t, os.Remove(h.Path("/dev/log")))
			_ = host.Listen(t, h.Path("/dev/log"))
			host.Eventually(t, "the receiver mounts again", c.OwnSocket)
			c.WantSent(t, c.Log(inside), "own")
			host.Eventually(t, "the receiver says so", func() bool {
				got, err := os.ReadFile(c.Log(inside))
				return err == nil && strings.Contains(string(got), "/dev/log was replaced; repaired")
			})
		})
	}
}
