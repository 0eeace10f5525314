package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/nodecall"
	"devlog/test/host"
)

// nodeProcess is the oldest process of the node with that option, other than the one before; 0
// for none. A younger one may be about to execute another program.
func nodeProcess(h *host.Host, option string, before int) (pid int) {
	for _, p := range h.Processes() {
		if f := strings.Fields(p); len(f) > 2 && f[2] == option {
			if n, err := strconv.Atoi(f[0]); err == nil && n != before && (pid == 0 || n < pid) {
				pid = n
			}
		}
	}
	return pid
}

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
		pid = nodeProcess(h, "--node", 0)
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

// nodeReader is the process of the node that reads messages, other than the one before.
func nodeReader(t *testing.T, h *host.Host, before int) (pid int) {
	t.Helper()
	host.Eventually(t, "a process reads messages", func() bool {
		pid = nodeProcess(h, "--node-reader", before)
		return pid > 0
	})
	return pid
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

// When the process that reads messages is killed, another gets the sockets: senders notice
// nothing, and what waits is read. A hook that comes meanwhile waits, too.
func TestNodeReaderKilled(t *testing.T) {
	h, c := nodeHost(t)
	c.WantSent(t, c.Log(false), "before")
	pid := nodeReader(t, h, 0)
	h.Must("kill", "-STOP", strconv.Itoa(pid))
	c.Sh("client t 13 waits") // in the socket
	h.Must("kill", "-KILL", strconv.Itoa(pid))
	d := host.NewCheap(t, h, "d", host.CheapOptions{})
	if r := d.Hook(false, "repair"); r.Code != 0 || r.ErrOut != "" {
		t.Errorf("repair: %+v", r)
	}
	d.WantSent(t, d.Log(false), "after-1")
	host.WantOnce(t, c.Log(false), "waits")
	c.WantSent(t, c.Log(false), "after-2")
	nodeReader(t, h, pid)
	var list []struct {
		Name           string
		Received, Lost uint64
	}
	host.Check(t, json.Unmarshal([]byte(h.Do(host.HookOn(), "list", "--json").Out), &list))
	for _, l := range list {
		if l.Received != map[string]uint64{"c": 3, "d": 1}[l.Name] || l.Lost != 0 {
			t.Errorf("%+v", l)
		}
	}
	if len(list) != 2 {
		t.Errorf("%d containers are listed", len(list))
	}
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

// What the node may not do is left to a process of the container's own, which is said; where the
// node must do it, it is refused.
func TestNodeRefuses(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	rule := "*.* -/var/log/elsewhere/c"
	r := c.Hook(false, "repair", "--receiver", "node", "--rule", rule)
	if r.Code != 4 || !strings.Contains(r.ErrOut, "/var/log/elsewhere") {
		t.Errorf("with --receiver node: %+v", r)
	}
	if r := c.Hook(false, "repair", "--rule", rule); r.Code != 0 || !strings.Contains(r.Out, "gets a receiver of its own") {
		t.Errorf("with a rule that writes elsewhere: %+v", r)
	}
	c.WantSent(t, h.Path("/var/log/elsewhere/c"), "own")
	if r := c.Hook(false, "undo"); r.Code != 0 {
		t.Errorf("undo: %+v", r)
	}
	for _, args := range [][]string{{"--sandbox", "off"}, {"--no-auto-repair", "--user", "0:0"}, {"--metrics-file", "/run/c.prom"}} {
		if r := c.Hook(false, append([]string{"repair"}, args...)...); r.Code != 0 {
			t.Errorf("%q: %+v", args, r)
		}
		if n := len(h.Receivers()); n != 2 {
			t.Errorf("%q: %d receivers, want the node and another", args, n)
		}
		c.Hook(false, "undo")
	}
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

// A hook whose node ends while it waits starts a receiver of the container's own, or fails where
// it must have the node.
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

// What a container has sent before its end is read, even if the process that reads messages is
// killed at that moment.
func TestNodeReaderKilledAtEnd(t *testing.T) {
	h, c := nodeHost(t)
	c.WantSent(t, c.Log(false), "before")
	reader := strconv.Itoa(nodeReader(t, h, 0))
	h.Must("kill", "-STOP", reader)
	c.Sh("client t 13 last-words")
	log := c.Log(false)
	c.Stop()
	h.Must("kill", "-KILL", reader)
	host.WantOnce(t, log, "last-words")
}

// What a container has sent before its own daemon takes the socket is read, even if the process that
// reads messages is killed at that moment.
func TestNodeReaderKilledAtTakeover(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	node, _ := startNode(t, h)
	before := socketsOf(h, node)
	c := host.NewCheap(t, h, "c", host.CheapOptions{Dev: ownDev})
	if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "before")
	var own string
	host.Eventually(t, "the call has ended", func() bool {
		held := slices.DeleteFunc(socketsOf(h, node), func(s string) bool { return slices.Contains(before, s) })
		own = strings.Join(held, " ")
		return len(held) == 1
	})
	reader := strconv.Itoa(nodeReader(t, h, 0))
	h.Must("kill", "-STOP", reader)
	c.Sh("client t 13 waits")
	takeOver(c, "/run/devlog/log")
	host.Eventually(t, "the node gives the socket up", func() bool { return !slices.Contains(socketsOf(h, node), own) })
	h.Must("kill", "-KILL", reader)
	host.WantOnce(t, c.Log(false), "waits")
	_, socket, _ := strings.Cut(own, " ")
	host.Eventually(t, "the node has closed the socket", func() bool {
		return !slices.ContainsFunc(socketsOf(h, node), func(s string) bool { return strings.HasSuffix(s, socket) })
	})
}

// While a process that reads messages starts, the node works on: it repairs, and takes hooks, which
// wait.
func TestNodeReaderStarts(t *testing.T) {
	h, c := nodeHost(t)
	c.WantSent(t, c.Log(false), "before")
	devlogd := filepath.Join(filepath.Dir(host.HookOn()), "devlogd")
	h.Must("sh", "-euc", `mkfifo /run/go; cp $0 /run/devlogd
printf '#!/bin/sh\nread go </run/go; exec /run/devlogd "$@"\n' >/run/slow; chmod +x /run/slow; mount --bind /run/slow $0`, devlogd)
	reader := nodeReader(t, h, 0)
	h.Must("kill", "-KILL", strconv.Itoa(reader))
	host.Eventually(t, "the next starts", func() bool {
		return slices.ContainsFunc(h.Processes(), func(p string) bool { return strings.Contains(p, "/bin/sh "+devlogd+" --node-reader") })
	})
	host.Check(t, os.Remove(c.Path("/dev/log")))
	if !host.WaitAtMost(15*time.Second, c.OwnSocket) { // the process may take 20 seconds
		t.Error("/dev/log is not repaired meanwhile")
	}
	d := host.NewCheap(t, h, "d", host.CheapOptions{})
	done := make(chan host.Result)
	go func() { done <- d.Hook(false, "repair", "--receiver", "node") }()
	host.Eventually(t, "the hook has bound the socket", func() bool {
		_, err := os.Stat(d.Path("/run/devlog/log"))
		return err == nil
	})
	h.Must("sh", "-c", "echo >/run/go")
	if r := <-done; r.Code != 0 || r.ErrOut != "" {
		t.Errorf("repair: %+v", r)
	}
	d.WantSent(t, d.Log(false), "after")
	host.WantOnce(t, c.Log(false), "/dev/log was replaced; repaired")
}

// The process that reads messages is the user devlog, if there is one: containers' logs become that
// user's, also those that a former version made as root, and rules for the kernel's log work.
func TestNodeUser(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	h.Must("sh", "-euc", `{ cat /etc/passwd; echo devlog:x:12345:54321::/:/bin/false; } >/run/passwd
mount --bind /run/passwd /etc/passwd; chmod 600 /dev/kmsg
umask 027; cd /var/log; mkdir -m 755 devlog devlog/c devlog/c/sub; echo old >devlog/c/messages; echo older >devlog/c/messages.0
echo x >devlog/secret; ln devlog/secret devlog/c/sub/hard; ln -s ../../secret devlog/c/sub/soft; mkdir -m 755 devlog/others; echo x >devlog/others/messages`)
	_, stop := startNode(t, h)
	reader := nodeReader(t, h, 0)
	text, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/status", reader)))
	host.Check(t, err)
	for _, want := range []string{"Uid:\t12345\t12345\t12345\t12345\n", "Gid:\t54321\t54321\t54321\t54321\n", "CapEff:\t0000000000000000\n", "Groups:\t \n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the reader lacks %q:\n%s", want, text)
		}
	}
	log := h.Path("/var/log/devlog/c/messages")
	owners := func(want int, names ...string) {
		t.Helper()
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Lstat(h.Path("/var/log/devlog/"+name), &st); err != nil || int(st.Uid) != want {
				t.Errorf("%s is of user %d, %v, want %d", name, st.Uid, err, want)
			}
		}
	}
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	name := fmt.Sprintf("node-user-%d", os.Getpid())
	kernel, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	host.Check(t, err)
	defer unix.Close(kernel)
	_, err = unix.Seek(kernel, 0, unix.SEEK_END)
	host.Check(t, err)
	rules := []string{"--rule", "*.* -/var/log/devlog/c/messages", "--rule", "*.crit /dev/kmsg", "--rule", "kern.* -/var/log/devlog/c/sub/hard"}
	if r := c.Hook(false, append([]string{"repair", "--receiver", "node"}, rules...)...); r.Code == 0 || !strings.Contains(r.ErrOut, "permission denied") {
		t.Errorf("with a file of several names: %+v", r)
	}
	if r := c.Hook(false, append([]string{"repair", "--receiver", "node"}, rules[:4]...)...); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, log, "as-devlog")
	c.Sh("client t 10 " + name) // user.crit
	host.Eventually(t, "the kernel's log has it", func() bool {
		record := make([]byte, 8<<10)
		n, err := unix.Read(kernel, record)
		return err == nil && strings.Contains(string(record[:n]), name)
	})
	owners(12345, "c", "c/sub", "c/messages", "c/messages.0")
	owners(0, "secret", "others", "others/messages", "c/sub/soft")
	stop()
	host.ExpectReceiversEnd(t, h)
	startNode(t, h, "--user", "root")
	if r := c.Hook(false, append([]string{"repair", "--receiver", "node"}, rules[:4]...)...); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, log, "as-root")
	owners(0, "c", "c/messages")
}

// A container whose rules cannot be followed when the process that reads messages is started again is
// read when they can, and the rules are read again.
func TestNodeMended(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	node, _ := startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	if r := c.Hook(false, "repair", "--receiver", "node"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "before")
	host.Check(t, errors.Join(os.Remove(c.Log(false)), os.Mkdir(c.Log(false), 0o755)))
	reader := nodeReader(t, h, 0)
	h.Must("kill", "-KILL", strconv.Itoa(reader))
	nodeReader(t, h, reader)
	c.Sh("client t 13 waits")
	host.Eventually(t, "the node is whole", func() bool { return strings.Contains(h.Do(host.HookOn(), "list", "--json").Out, `"pid"`) })
	host.Check(t, os.Remove(c.Log(false)))
	host.Eventually(t, "it is read", func() bool {
		h.Must("kill", "-HUP", strconv.Itoa(node))
		text, err := os.ReadFile(c.Log(false))
		return err == nil && strings.Contains(string(text), ": waits\n")
	})
	c.WantSent(t, c.Log(false), "after")
}

// socketsOf returns the open sockets of the process, as descriptor and inode number.
func socketsOf(h *host.Host, pid int) (list []string) {
	links, _ := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fd/*", pid)))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, "socket:") { // it may be closed by now
			list = append(list, filepath.Base(l)+" "+to)
		}
	}
	return list
}

// A process that reads messages and does not answer is killed, and the next gets the sockets: a
// hook waits that long.
func TestNodeReaderHangs(t *testing.T) {
	h, c := nodeHost(t)
	reader := nodeReader(t, h, 0)
	h.Must("kill", "-STOP", strconv.Itoa(reader))
	c.Sh("client t 13 waits")
	d := host.NewCheap(t, h, "d", host.CheapOptions{})
	if r := d.Hook(false, "repair", "--receiver", "node"); r.Code != 0 {
		t.Fatalf("repair: %+v", r)
	}
	nodeReader(t, h, reader)
	d.WantSent(t, d.Log(false), "after")
	host.WantOnce(t, c.Log(false), "waits")
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
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0) // this test is root in another PID namespace
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
