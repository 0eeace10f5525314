package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// The process that names a container may end long before it: the receiver ends
// with the container.
func TestEngineAnyProcess(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	c.Sh("mkfifo /tmp/hold; { echo $$ >/tmp/pid; read _ </tmp/hold; } >/dev/null 2>&1 &")
	// The shell that waits in the container, as the host numbers it.
	worker := 0
	host.Eventually(t, "the worker runs", func() bool {
		for _, p := range h.Processes() {
			if pid, line, _ := strings.Cut(p, " "); strings.Contains(line, "/tmp/hold") {
				worker, _ = strconv.Atoi(pid)
			}
		}
		return worker != 0
	})
	if r := h.Do(host.HookOn(), "repair", fmt.Sprintf("--pid=%d", worker), "--name", c.Name); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "one")
	h.Must("kill", "-9", strconv.Itoa(worker))
	host.WaitDead(t, h, worker)
	c.WantSent(t, c.Log(false), "two")
	c.Stop()
	host.ExpectReceiversEnd(t, h)
}

// A repair after an earlier receiver lost its socket leaves one receiver, which undo finds.
func TestEngineAgain(t *testing.T) {
	for _, inside := range []bool{true, false} {
		host.NeedContainers(t)
		h := host.NewHost(t)
		c := host.NewCheap(t, h, "c1", host.CheapOptions{})
		before := host.Look(t, h, c)
		for i := range 3 {
			if r := c.Hook(inside, "repair", "--no-auto-repair"); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			host.Eventually(t, "one receiver", func() bool { return len(h.Receivers()) == 1 })
			c.WantSent(t, c.Log(inside), fmt.Sprintf("message-%d", i))
			if i < 2 {
				c.Sh("rm /run/devlog/log")
			}
		}
		if r := c.Hook(inside, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
			t.Errorf("undo: %+v", r)
		}
		if left := h.Receivers(); len(left) != 0 {
			t.Errorf("receivers: %v", left)
		}
		host.ExpectAsBefore(t, h, c, inside, before)
	}
}

// The private socket's directory is removed: the receiver makes it again, and undo still
// works.
func TestEngineLostDirectory(t *testing.T) {
	for _, inside := range []bool{true, false} {
		host.NeedContainers(t)
		h := host.NewHost(t)
		c := host.NewCheap(t, h, "c1", host.CheapOptions{})
		before := host.Look(t, h, c)
		if r := c.Hook(inside, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		receivers := h.Receivers()
		c.Sh("rm -r /run/devlog")
		host.Eventually(t, "the socket is back", func() bool { return c.Exec("client", "t", "13", "probe").Code == 0 && c.OwnSocket() })
		c.WantSent(t, c.Log(inside), "own")
		if now := h.Receivers(); len(now) != 1 || now[0] != receivers[0] {
			t.Errorf("receivers: %v, were %v", now, receivers)
		}
		if r := c.Hook(inside, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
			t.Errorf("undo: %+v", r)
		}
		host.ExpectAsBefore(t, h, c, inside, before)
	}
}

// A container's daemon has taken /dev/log of a prepared host: undo does not
// remove the last name of the host's socket.
func TestEngineUndoHostTaken(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	receive := host.ListenOn(t, h, "/dev/log")
	h.Must(host.HookOn(), "repair", "--host")
	host.Check(t, os.Remove(h.Path("/dev/log")))
	_ = host.Listen(t, h.Path("/dev/log")) // not by a process of the host
	before := host.Tree(h)
	expectRefusal(t, h.Do(host.HookOn(), "undo", "--host"), 3, "somebody else")
	host.ExpectNew(t, h, before)
	// After that daemon's end the host gets its name back.
	host.Check(t, os.Remove(h.Path("/dev/log")))
	if r := h.Do(host.HookOn(), "undo", "--host"); r.Code != 0 {
		t.Fatalf("undo --host: %+v", r)
	}
	h.Must("logger", "back")
	if got := receive(); !strings.HasSuffix(got, " back") {
		t.Errorf("received %q", got)
	}
}

// A container is never treated as the host.
func TestEngineHostInside(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	_ = host.ListenOn(t, h, "/dev/log")
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	before := host.Look(t, h, c)
	expectRefusal(t, c.Exec(host.HookIn, "repair", "--host"), 3, "may be a container")
	host.ExpectWorld(t, before, host.Look(t, h, c))
}

// A process that holds the lock forever delays a repair, but does not prevent it.
func TestEngineLocked(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	root, err := os.Open(c.Path("/"))
	host.Check(t, err)
	t.Cleanup(func() { host.Check(t, root.Close()) })
	host.Check(t, unix.Flock(int(root.Fd()), unix.LOCK_EX))
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "locked")
}

// A service with its own mount namespace is not a container.
func TestEngineService(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	if r := c.Hook(false, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	c.Sh("busybox unshare -m /bin/sh -c 'mkfifo /tmp/hold; read _ </tmp/hold' >/dev/null 2>&1 &")
	host.WaitHeld(t, c.Path("/"))
	r := h.Do(host.HookOn(), "check", "--host", "--json")
	var seen struct{ Containers []struct{ PID int } }
	host.Check(t, json.Unmarshal([]byte(r.Out), &seen))
	if len(seen.Containers) != 1 || seen.Containers[0].PID != c.PID {
		t.Errorf("check --host sees %+v, want the process %d", seen.Containers, c.PID)
	}
	h.Must(host.HookOn(), "repair", "--host", "--all")
	if n := len(h.Receivers()); n != 1 {
		t.Errorf("%d receivers", n)
	}
}

// undo inside a container refuses what the receiver on the host would repair again.
func TestEngineUndoFromInside(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	before := host.Look(t, h, c)
	r := c.Hook(false, "repair")
	if want := "messages go to /var/log/devlog/c1/messages on the host\n"; r.Code != 0 || !strings.HasSuffix(r.Out, want) {
		t.Fatalf("repair: %+v, want %q", r, want)
	}
	expectRefusal(t, c.Hook(true, "undo"), 3, "--pid")
	c.WantSent(t, c.Log(false), "still")
	if r := c.Hook(false, "undo"); r.Code != 0 {
		t.Errorf("undo: %+v", r)
	}
	host.ExpectAsBefore(t, h, c, false, before)
}

// Messages that a full disk costs at the end are reported where possible.
func TestEngineFullDisk(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	name := fmt.Sprintf("full-%d", os.Getpid()) // the kernel's log is the machine's
	c := host.NewCheap(t, h, name, host.CheapOptions{After: "mount -n -t tmpfs -o size=8k log /var/log"})
	if r := c.Hook(true, "repair"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	long := strings.Repeat("x", 900)
	c.Sh("for i in $(busybox seq 40); do client t 13 " + long + "; done")
	if r := c.Hook(true, "undo"); r.Code != 0 {
		t.Errorf("undo: %+v", r)
	}
	want := name + ": devlogd: "
	for line := range strings.Lines(h.Must("dmesg").Out) {
		if _, text, ok := strings.Cut(line, want); ok {
			if !strings.Contains(text, "messages lost at the end: /var/log/messages: disk full") {
				t.Errorf("the kernel's log has %q", text)
			}
			return
		}
	}
	t.Errorf("the kernel's log has no %q", want)
}

// By default, critical messages are in the kernel's log too.
func TestEngineCritical(t *testing.T) {
	for _, inside := range []bool{true, false} {
		host.NeedContainers(t)
		h := host.NewHost(t)
		c := host.NewCheap(t, h, "c1", host.CheapOptions{})
		if r := c.Hook(inside, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		text := fmt.Sprintf("critical-%t-%d", inside, time.Now().UnixNano()) // the kernel's log is the machine's
		c.Sh("client t 11 not-" + text + "; client t 10 " + text)
		host.WantOnce(t, c.Log(inside), "not-"+text, text)
		var got string
		host.Eventually(t, "the kernel's log has it", func() bool {
			got = h.Must("dmesg", "-x").Out
			return strings.Contains(got, ": "+text+"\n")
		})
		if strings.Contains(got, "not-"+text) {
			t.Error("what is not critical is in the kernel's log")
		}
		for line := range strings.Lines(got) {
			if strings.Contains(line, text) && !strings.HasPrefix(line, "user  :crit  :") {
				t.Errorf("the kernel's log has %q", line)
			}
		}
	}
}

// Why a start hook has failed is reported where LXC does not hide it.
func TestEngineLXCSays(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	name := fmt.Sprintf("wrong-%d", os.Getpid())
	c := host.NewLXC(t, h, name, "lxc.environment = DEVLOG_RULE=*.infoo -/var/log/messages", "lxc.environment = DEVLOG_ON_ERROR=fail")
	if r := c.Execute("exit 0"); r.Code == 0 {
		t.Errorf("the container runs: %+v", r)
	}
	if out := h.Must("dmesg").Out; !strings.Contains(out, "devlog-hook: container "+name+": rule ") {
		t.Errorf("the kernel's log does not say why %s failed", name)
	}
}
