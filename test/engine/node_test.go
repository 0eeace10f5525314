package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/nodecall"
	"devlog/test/host"
)

// startNode starts the service of the host, and returns its process and a function that ends it.
func startNode(t *testing.T, h *host.Host, args ...string) (pid int, stop func()) {
	t.Helper()
	cmd := h.Command(context.Background(), append([]string{filepath.Join(filepath.Dir(host.HookOn()), "devlogd"), "--node"}, args...)...)
	said, err := os.CreateTemp(t.TempDir(), "said")
	host.Check(t, err)
	cmd.Stderr = said
	host.Check(t, cmd.Start())
	stop = func() {
		_ = h.Command(context.Background(), "kill", strconv.Itoa(pid)).Run() // it may have ended
		_ = cmd.Wait()                                                       // the test has seen what it did
	}
	t.Cleanup(func() {
		stop()
		if text, err := os.ReadFile(said.Name()); t.Failed() && err == nil {
			t.Logf("the node: %s", text)
		}
	})
	host.Eventually(t, "the node listens", func() bool {
		pid = h.NodeProcess("--node", 0)
		return pid > 0 && listens(t, h)
	})
	return pid, stop
}

// listens returns whether the node listens.
func listens(t *testing.T, h *host.Host) bool {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: h.Path("/run/devlog/node")}) == nil
}

// One process receives for all containers: each has its own log, is repaired, listed, and ends
// apart.
func TestNode(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h)
	a, b := host.NewCheap(t, h, "a", host.CheapOptions{}), host.NewCheap(t, h, "b", host.CheapOptions{})
	for _, c := range []*host.Cheap{a, b} {
		if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
			t.Fatalf("repair: %+v", r)
		}
		c.WantSent(t, c.Log(false), "hello-from-"+c.Name)
		if r := c.Hook(false, "check"); r.Code != 0 {
			t.Errorf("check: %+v", r)
		}
	}
	if n := len(h.Receivers()); n != 1 { // and its child
		t.Errorf("%d processes: %q", n, h.Processes())
	}
	if text, err := os.ReadFile(a.Log(false)); err != nil || strings.Contains(string(text), "from-b") {
		t.Errorf("a's log: %q, %v", text, err)
	}
	r := h.Do(host.HookOn(), "list", "--json")
	if r.Code != 0 || strings.Count(r.Out, `"lost": 0`) != 2 {
		t.Errorf("list: %+v", r)
	}
	a.Stop()
	host.Eventually(t, "a is forgotten", func() bool {
		return strings.Count(h.Do(host.HookOn(), "list", "--json").Out, `"pid"`) == 1
	})
	b.WantSent(t, b.Log(false), "b-after-a")
	host.Check(t, os.Remove(b.Path("/dev/log")))
	host.WantOnce(t, b.Log(false), "/dev/log was replaced; repaired")
	b.WantSent(t, b.Log(false), "b-repaired")
	if r := b.Hook(false, "undo"); r.Code != 0 {
		t.Errorf("undo: %+v", r)
	}
	if r := h.Do(host.HookOn(), "list", "--json"); strings.TrimSpace(r.Out) != "[]" {
		t.Errorf("list: %+v", r)
	}
}

// The node watches all containers by one inotify(7) instance, of which root has 128 by default,
// and a /dev/log that they share by one watch.
func TestNodeWatches(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	node, _ := startNode(t, h)
	var cs []*host.Cheap
	for i := range 3 {
		c := host.NewCheap(t, h, fmt.Sprint("c", i), host.CheapOptions{})
		if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
			t.Fatalf("repair: %+v", r)
		}
		cs = append(cs, c)
	}
	var st unix.Stat_t
	host.Check(t, unix.Lstat(h.Path("/dev/log"), &st))
	log := fmt.Sprintf(" ino:%x ", st.Ino)
	var instances, watched, ofLog int
	look := func() {
		instances, watched, ofLog = 0, 0, 0
		infos, err := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fdinfo/*", node)))
		host.Check(t, err)
		for _, info := range infos {
			text, _ := os.ReadFile(info) // it may have been closed
			if n := strings.Count(string(text), "inotify wd:"); n > 0 {
				instances++
				watched += n
				ofLog += strings.Count(string(text), log)
			}
		}
	}
	const each = 1 // its socket
	host.Eventually(t, "the node watches", func() bool {
		look()
		return watched >= 1+each*len(cs)
	})
	if instances != 1 || watched != 1+each*len(cs) || ofLog != 1 {
		t.Errorf("%d instances, %d watches, %d of /dev/log", instances, watched, ofLog)
	}
	host.LinkLog(t, h, "/dev/nosuch")
	converge(t, cs, "the replacement")
	cs[0].Stop()
	host.Eventually(t, "what a container had is no longer watched", func() bool {
		look()
		return watched == 1+each*(len(cs)-1)
	})
}

// nodeHost is a host with a node and a container of it.
func nodeHost(t *testing.T, args ...string) (*host.Host, *host.Cheap) {
	t.Helper()
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h, args...)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	return h, c
}

// When the node ends, its containers' sockets stay until they are repaired again.
func TestNodeEnds(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	_, stop := startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	repair := func() {
		t.Helper()
		if r := c.Hook(false, "repair"); r.Code != 0 || strings.Contains(r.Out, "nothing to do") {
			t.Fatalf("repair: %+v", r)
		}
	}
	repair()
	c.WantSent(t, c.Log(false), "first")
	stop()
	host.ExpectReceiversEnd(t, h)
	repair() // with a process of its own
	c.WantSent(t, c.Log(false), "second")
	startNode(t, h)
	if r := c.Hook(false, "repair"); r.Code != 0 || !strings.Contains(r.Out, "nothing to do") {
		t.Errorf("repair: %+v", r)
	}
	c.Stop()
}

// If the node may not do what the rules need, the container gets its own receiver, which is reported.
// With --receiver node the repair is refused.
func TestNodeRefuses(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	rule := "*.* -/var/log/elsewhere/c"
	h.Must("sh", "-c", "mkdir /var/log/elsewhere; mkfifo /run/pipe")
	for _, tt := range []struct {
		args []string
		why  string // as the hook says; "" if it does not, for the user knows
		code int    // with --receiver node
	}{
		{[]string{"--rule", rule}, "write to /var/log/elsewhere/c", 4},
		{[]string{"--rule", "*.* |/run/pipe"}, "write to /run/pipe", 4},
		{[]string{"--rule", "*.* /dev/console"}, "write to /dev/console", 4},
		{[]string{"--rule", "*.* container-stdout"}, "container-stdout", 4},
		{[]string{"--metrics-file", "/run/c.prom"}, "--metrics-file outside /var/log/devlog", 4},
		{[]string{"--sandbox", "off"}, "", 3},
		{[]string{"--no-auto-repair", "--user", "0:0"}, "", 3},
	} {
		r := c.Hook(false, append([]string{"repair", "--receiver", "node"}, tt.args...)...)
		if r.Code != tt.code || !strings.Contains(r.ErrOut, tt.why) || len(h.Receivers()) != 1 {
			t.Errorf("%q with --receiver node: %+v", tt.args, r)
		}
		r = c.Hook(false, append([]string{"repair"}, tt.args...)...)
		said := tt.why == "" || strings.Contains(r.Out, "gets a receiver of its own: ") && strings.Contains(r.Out, tt.why)
		if n := len(h.Receivers()); r.Code != 0 || !said || n != 2 {
			t.Errorf("%q: %+v; %d receivers, want the node and another", tt.args, r, n)
		}
		if len(tt.args) == 2 && tt.args[1] == rule {
			c.WantSent(t, h.Path("/var/log/elsewhere/c"), "own")
		}
		c.Hook(false, "undo")
	}
	if r := c.Hook(true, "repair", "--receiver", "node"); r.Code != 3 || !strings.Contains(r.ErrOut, "hooks that run on the host") {
		t.Errorf("a receiver in the container with --receiver node: %+v", r)
	}
	// A rule is refused also when the rules are read again.
	h.Must("sh", "-c", "echo '*.* -/var/log/devlog/c/messages' >/var/log/devlog/c.conf")
	if r := c.Hook(false, "repair", "--receiver", "node", "--config", "/var/log/devlog/c.conf"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	h.Must("sh", "-c", "echo '"+rule+"' >/var/log/devlog/c.conf")
	h.Must("kill", "-HUP", strconv.Itoa(h.NodeProcess("--node", 0)))
	host.WantOnce(t, c.Log(false), "the rules stay as they were: only a receiver of the container's own can do this: write to /var/log/elsewhere/c")
	c.WantSent(t, c.Log(false), "still")
}

// A hook that is killed while it waits for the node leaves nothing behind at the node, which does
// not touch the socket: the next repair uses what it finds.
func TestNodeHookKilled(t *testing.T) {
	h, c := nodeHost(t)
	d := host.NewCheap(t, h, "d", host.CheapOptions{})
	reader := strconv.Itoa(nodeReader(t, h, 0))
	h.Must("kill", "-STOP", reader)
	r := h.Do(append([]string{"timeout", "-s", "KILL", "1"}, d.HookArgs(false, "repair", "--receiver", "node")...)...)
	h.Must("kill", "-CONT", reader)
	if r.Code == 0 {
		t.Fatalf("the hook was not killed: %+v", r)
	}
	host.Eventually(t, "the node has one container", func() bool {
		return strings.Count(h.Do(host.HookOn(), "list", "--json").Out, `"pid"`) == 1
	})
	if r := d.Hook(false, "repair", "--receiver", "node"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	d.WantSent(t, d.Log(false), "after-all")
	c.WantSent(t, c.Log(false), "still")
}

// A hook whose node ends while it waits starts the container's own receiver. With --receiver node it
// fails.
func TestNodeEndsBeforeItAnswers(t *testing.T) {
	for how, code := range map[string]int{"auto": 0, "node": 4} {
		t.Run(how, func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			pid, _ := startNode(t, h)
			reader := strconv.Itoa(nodeReader(t, h, 0))
			c := host.NewCheap(t, h, "c", host.CheapOptions{})
			h.Must("kill", "-STOP", reader)
			before := len(socketsOf(h, pid))
			done := make(chan host.Result)
			go func() { done <- c.Hook(false, "repair", "--receiver", how) }()
			host.Eventually(t, "the hook has called the node", func() bool { return len(socketsOf(h, pid)) > before })
			h.Must("kill", "-KILL", strconv.Itoa(pid))
			r := <-done
			h.Must("kill", "-CONT", reader)
			if said := r.Out + r.ErrOut; r.Code != code || !strings.Contains(said, "it has ended") {
				t.Fatalf("%+v", r)
			}
			if code == 0 {
				c.WantSent(t, c.Log(false), "own")
			}
		})
	}
}

// Only root in the host's PID namespace may call the node: not root of a container that has the
// host's /run, nor a user.
func TestNodeCallers(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h)
	path := h.Path("/run/devlog/node")
	info, err := os.Stat(path)
	host.Check(t, err)
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket has the mode %o", mode)
	}
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0) // this test is in another PID namespace
	host.Check(t, err)
	defer unix.Close(conn)
	host.Check(t, unix.Connect(conn, &unix.SockaddrUnix{Name: path}))
	host.Check(t, nodecall.Send(conn, nodecall.Request{Operation: nodecall.List}, nil))
	var a *nodecall.Answer
	host.Eventually(t, "the node answers", func() bool {
		a, _, err = nodecall.Take[nodecall.Answer](conn)
		return err == nil && a != nil
	})
	if !strings.Contains(a.Error, "PID namespace") || len(a.Containers) > 0 {
		t.Errorf("it answers %+v", a)
	}
}
