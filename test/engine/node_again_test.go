package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// Without a service manager that keeps the sockets, a restarted node has its containers repaired
// with their options, if they still run and were not undone.
func TestNodeStartsAgain(t *testing.T) {
	host.NeedContainers(t)
	for how, signal := range map[string]string{"killed": "-KILL", "stopped": "-TERM"} {
		t.Run(how, func(t *testing.T) {
			h := host.NewHost(t)
			pid, _ := startNode(t, h)
			stays, ends, undone := host.NewCheap(t, h, "stays", host.CheapOptions{}), host.NewCheap(t, h, "ends", host.CheapOptions{}), host.NewCheap(t, h, "undone", host.CheapOptions{})
			rule := "*.* -/var/log/devlog/stays/all"
			for _, c := range []*host.Cheap{stays, ends, undone} {
				if r := c.Hook(false, "repair", "--receiver", "node", "--rule", rule, "--listen", "/run/more"); r.Code != 0 || r.ErrOut != "" {
					t.Fatalf("repair: %+v", r)
				}
			}
			log := h.Path("/var/log/devlog/stays/all")
			stays.WantSent(t, log, "before")
			h.Must("kill", signal, strconv.Itoa(pid))
			host.ExpectReceiversEnd(t, h)
			ends.Stop()
			if r := undone.Hook(false, "undo"); r.Code != 0 {
				t.Fatalf("undo: %+v", r)
			}
			since := time.Now()
			startNode(t, h)
			host.Eventually(t, "the container can log again", func() bool {
				return strings.HasSuffix(stays.Hook(false, "check").Out, "nothing to do\n")
			})
			t.Logf("the container can log again %v after the start", time.Since(since))
			stays.WantSent(t, log, "after")
			r := h.Do(host.HookOn(), "list", "--json")
			if strings.Count(r.Out, `"pid"`) != 1 || !strings.Contains(r.Out, "stays") || !strings.Contains(r.Out, "/all") {
				t.Errorf("list: %+v", r)
			}
			if _, err := os.Stat(stays.Path("/run/more")); err != nil {
				t.Errorf("the further socket: %v", err)
			}
			host.Eventually(t, "only what runs is remembered", func() bool {
				entries, err := os.ReadDir(h.Path("/run/devlog/containers"))
				return err == nil && len(entries) == 1
			})
			if r := stays.Hook(false, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
				t.Errorf("undo: %+v", r)
			}
		})
	}
}

// A repair of a container whose sockets the node lost fails if the node has ended by then: a receiver of the
// container's own would end with the node's cgroup. The next node has it repaired.
func TestNodeEndsWhileItRepairs(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	pid, _ := startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	if r := c.Hook(false, "repair"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	h.Must("kill", "-KILL", strconv.Itoa(pid))
	host.ExpectReceiversEnd(t, h)
	if r := h.Do(host.HookOn(), "repair-lost", "--container", "1"); r.Code != 4 || !strings.Contains(r.ErrOut, "no devlogd.service listens") {
		t.Errorf("the repair without a node: %+v", r)
	}
	if n := len(h.Receivers()); n != 0 {
		t.Errorf("%d receivers run: %q", n, h.Processes())
	}
	startNode(t, h)
	host.Eventually(t, "the container can log again", func() bool {
		return strings.HasSuffix(c.Hook(false, "check").Out, "nothing to do\n")
	})
	c.WantSent(t, c.Log(false), "after")
}

// A node whose files a service manager keeps gets them all back, however many they are: a thousand containers
// have some thousands.
func TestNodeManyFiles(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	m := host.NewManager(t, h, filepath.Join(filepath.Dir(host.HookOn()), "devlogd"))
	m.Start(true)
	const containers, sockets = 32, 16
	var cs []*host.Cheap
	for i := range containers {
		c := host.NewCheap(t, h, fmt.Sprint("c", i), host.CheapOptions{})
		args := []string{"repair", "--receiver", "node"}
		for n := range sockets {
			args = append(args, "--listen", fmt.Sprintf("/run/more-%d/log", n))
		}
		if r := c.Hook(false, args...); r.Code != 0 || r.ErrOut != "" {
			t.Fatalf("repair: %+v", r)
		}
		cs = append(cs, c)
	}
	host.Eventually(t, "the files are kept", func() bool { return m.Kept() > 1024 })
	for _, signal := range []string{"TERM", "KILL"} {
		m.End(signal)
		m.Start(true)
		for _, c := range cs {
			c.WantSent(t, c.Log(false), "after-"+signal)
		}
	}
	files, names := m.Passed()
	t.Logf("%d files were kept; their names have %d bytes", files, names)
	if names > files*6 {
		t.Errorf("the names of %d files have %d bytes: those of as many as systemd keeps would not fit into a variable", files, names)
	}
}

// A hook whose node ends while it waits is answered by the next, if a service manager starts that: a restart
// is no reason for a receiver of the container's own. What was sent meanwhile is not lost.
func TestNodeEndsDuringACall(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	m := host.NewManager(t, h, filepath.Join(filepath.Dir(host.HookOn()), "devlogd"))
	m.Start(true)
	first, c := host.NewCheap(t, h, "first", host.CheapOptions{}), host.NewCheap(t, h, "c", host.CheapOptions{})
	if r := first.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" { // then the reader is ready
		t.Fatalf("repair: %+v", r)
	}
	reader := nodeReader(t, h, 0)
	h.Must("kill", "-STOP", strconv.Itoa(reader))
	before := len(socketsOf(h, m.PID))
	done := make(chan host.Result)
	go func() { done <- c.Hook(false, "repair", "--receiver", "node") }()
	host.Eventually(t, "the hook has called the node", func() bool { return len(socketsOf(h, m.PID)) > before })
	sender, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	defer unix.Close(sender)
	host.Check(t, unix.Connect(sender, &unix.SockaddrUnix{Name: c.Path("/run/devlog/log")})) // what leads to it comes last
	host.Check(t, host.Send(sender, "<13>t: sent-meanwhile"))
	h.Must("kill", "-KILL", strconv.Itoa(reader))
	m.End("KILL")
	m.Start(true)
	if r := <-done; r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	host.WantOnce(t, c.Log(false), "sent-meanwhile")
	if n := len(h.Receivers()); n != 1 {
		t.Errorf("%d receivers run: %q", n, h.Processes())
	}
}

// A container that could not be repaired again, and that somebody repairs then, is noted once: after an undo no
// node repairs it.
func TestNodeRepairedByHand(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	_, stop := startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	stop()
	host.ExpectReceiversEnd(t, h)
	h.Must("sh", "-euc", `printf '#!/bin/sh\necho $1 >>/run/ran; exit 1\n' >/run/fails; chmod +x /run/fails; mount --bind /run/fails $0`, host.HookOn())
	_, stop = startNode(t, h)
	host.Eventually(t, "a repair fails", func() bool {
		text, err := os.ReadFile(h.Path("/run/ran"))
		return err == nil && string(text) == "repair-lost\n"
	})
	h.Must("umount", host.HookOn())
	if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	noted := func() int {
		entries, err := os.ReadDir(h.Path("/run/devlog/containers"))
		host.Check(t, err)
		return len(entries)
	}
	host.Eventually(t, "the container is noted once", func() bool { return noted() == 1 })
	if r := c.Hook(false, "undo"); r.Code != 0 || noted() != 0 {
		t.Errorf("undo: %+v; %d containers are noted", r, noted())
	}
	stop()
}

// On a host that was prepared once, and that nothing else keeps prepared, the service prepares it again when
// somebody removes or replaces /dev/log, while it has a container that shares /dev.
func TestNodeKeepsHost(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	preparedAgain := func(t *testing.T, after string, receive func() string) {
		t.Helper()
		host.Eventually(t, after+": the host is prepared again", func() bool {
			return h.Do(host.HookOn(), "check", "--host").Code == 0
		})
		h.Must(host.Client, "t", "13", "host-"+after)
		if got := receive(); !strings.Contains(got, "host-"+after) {
			t.Errorf("%s: the host's daemon gets %q", after, got)
		}
		c.WantSent(t, c.Log(false), "container-"+after)
	}
	t.Run("a daemon", func(t *testing.T) {
		receive := host.ListenOn(t, h, "/dev/log")
		h.Must(host.HookOn(), "repair", "--host")
		if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
			t.Fatalf("repair: %+v", r)
		}
		host.Check(t, os.Remove(h.Path("/dev/log")))
		preparedAgain(t, "removal", receive)
		host.LinkLog(t, h, "/run/nowhere")
		preparedAgain(t, "replacement", receive)
	})
	receive := host.ListenOn(t, h, "/dev/log.new") // that daemon has ended, and is restarted
	host.Check(t, os.Rename(h.Path("/dev/log.new"), h.Path("/dev/log")))
	preparedAgain(t, "restart", receive)
}
