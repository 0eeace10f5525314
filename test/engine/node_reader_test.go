package engine

import (
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

	"devlog/test/host"
)

// nodeReader returns the process of the node that reads messages, other than the earlier one.
func nodeReader(t *testing.T, h *host.Host, before int) (pid int) {
	t.Helper()
	host.Eventually(t, "a process reads messages", func() bool {
		pid = h.NodeProcess("--node-reader", before)
		return pid > 0
	})
	return pid
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

// While a process that reads messages starts, the node keeps working: it repairs, and accepts hooks,
// which wait.
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

// The process that reads messages is the user devlog, if there is one: containers' logs become that
// user's, also those that a former version made as root, and rules for the kernel's log work.
func TestNodeUser(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	h.Must("sh", "-euc", `{ grep -v ^devlog: /etc/passwd; echo devlog:x:12345:54321::/:/bin/false; } >/run/passwd
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

// A restarted process that reads messages refuses a container if its rules cannot be opened. It reads
// from the container once they can be, after a reload.
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

// A container that a new reader refuses, here for its rules, is read again once the reason has gone, without
// anybody's help. What was sent meanwhile waits in the socket.
func TestNodeReadsLater(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	startNode(t, h)
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	rules := func(path string) {
		h.Must("sh", "-c", "mkdir -p /var/log/devlog; echo '*.* -"+path+"' >/var/log/devlog/c.conf")
	}
	rules("/var/log/devlog/c/messages")
	if r := c.Hook(false, "repair", "--receiver", "node", "--config", "/var/log/devlog/c.conf"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "before")
	rules("/var/log/elsewhere/c")
	reader := nodeReader(t, h, 0)
	h.Must("kill", "-KILL", strconv.Itoa(reader))
	nodeReader(t, h, reader)
	h.Must(host.HookOn(), "list") // the service answers when all containers have been tried
	c.Sh("client t 13 waits")
	rules("/var/log/devlog/c/messages")
	host.WantOnce(t, c.Log(false), "waits")
	c.WantSent(t, c.Log(false), "after")
}
