package engine

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devlog/internal/names"
	"devlog/test/host"
)

// Further sockets, each in a directory that does not exist yet.
const (
	chroot  = "/var/lib/haproxy/dev/log"
	another = "/var/lib/named/dev/log"
)

// wantAt sends to a socket of the container, and waits for the message.
func wantAt(t *testing.T, c *host.Cheap, log, path, text string) {
	t.Helper()
	dir, err := os.Open(c.Path(filepath.Dir(path))) // a whole path is too long for a socket
	host.Check(t, err)
	defer dir.Close()
	conn, err := net.Dial("unixgram", "/proc/self/fd/"+strconv.Itoa(int(dir.Fd()))+"/"+filepath.Base(path))
	host.Check(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("<13>t: " + text))
	host.Check(t, err)
	host.WantOnce(t, log, text)
}

// eachSide runs a test with the hook inside the container, and on the host.
func eachSide(t *testing.T, test func(t *testing.T, h *host.Host, c *host.Cheap, inside bool)) {
	for _, inside := range []bool{true, false} {
		t.Run(map[bool]string{true: "inside", false: "pid"}[inside], func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			host.Journal(t, h)
			test(t, h, host.NewCheap(t, h, "c1", host.CheapOptions{}), inside)
		})
	}
}

// The receiver gets further sockets, also while it runs. Repeating the repair does no harm, an
// upgrade keeps the sockets, a repair after a kill restores them, and undo removes them.
func TestEngineListen(t *testing.T) {
	eachSide(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool) {
		log := c.Log(inside)
		if r := c.Hook(inside, "repair", "--listen", chroot); r.Code != 0 || strings.Contains(r.Out, "cannot") {
			t.Fatalf("%+v", r)
		}
		wantAt(t, c, log, chroot, "first")
		if r := c.Hook(inside, "repair", "--listen", chroot); r.Code != 0 || !strings.HasPrefix(r.Out, "nothing to do") {
			t.Errorf("the same again: %+v", r)
		}
		if r := c.Hook(inside, "repair", "--listen", another, "--listen", chroot); r.Code != 0 || !strings.Contains(r.Out, "listen on "+another) {
			t.Fatalf("another list: %+v", r)
		}
		wantAt(t, c, log, another, "second")
		wantAt(t, c, log, chroot, "third")
		c.WantSent(t, log, "fourth")
		r := c.Hook(inside, "check")
		for _, at := range []string{chroot, another} {
			if !strings.Contains(r.Out, "listen    "+at+", where the receiver listens\n") {
				t.Errorf("check: %+v", r)
			}
		}
		pid := h.Receivers()[0]
		if !inside { // a receiver inside runs from memory
			h.Must("kill", "-USR2", strconv.Itoa(pid))
			host.WantOnce(t, log, "upgraded to devlogd devel from devel")
			wantAt(t, c, log, another, "upgraded")
		}
		h.Must("kill", "-KILL", strconv.Itoa(pid))
		host.WaitDead(t, h, pid)
		if r := c.Hook(inside, "check"); !strings.Contains(r.Out, "listen    "+chroot+", where nobody listens") {
			t.Errorf("check after a kill: %+v", r)
		}
		if r := c.Hook(inside, "repair", "--listen", chroot); r.Code != 0 {
			t.Fatalf("after a kill: %+v", r)
		}
		wantAt(t, c, log, chroot, "after a kill")
		if r := c.Hook(inside, "undo"); r.Code != 0 {
			t.Fatalf("undo: %+v", r)
		}
		host.ExpectReceiversEnd(t, h)
		for _, dir := range []string{"/var/lib", "/run/devlog"} {
			if _, err := os.Lstat(c.Path(dir)); !os.IsNotExist(err) {
				t.Errorf("left: %s: %v", dir, err)
			}
		}
	})
}

// A file in the way of a further socket stays and is reported. /dev/log is repaired all the
// same.
func TestEngineListenBlocked(t *testing.T) {
	eachSide(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool) {
		c.Sh("mkdir -p /srv/dir /srv/ro /opt/x; mount -n -t tmpfs -o ro ro /srv/ro; ln -s /run/live /srv/link; ln -s /dev /srv/dev; ln -s /no/where /srv/dangling")
		host.Bind(t, c.Path("/srv/live"))
		dead := c.Path("/srv/dead")
		host.StaleSocketAt(t, dead)
		log := c.Log(inside)
		blocked := map[string]string{
			"/srv/dir": "it is a directory, not a socket", "/srv/link": "it is a link, not a socket", "/srv/live": "somebody else listens there",
			"/srv/ro/log": "read-only file system", "/srv/dev/log": "its directory is one of devlog's own, or /dev",
			"/srv/dangling/log": "a link on the way leads nowhere", "/srv/1/2/3/4/5/6/7/8/9/log": "more than 8 directories are missing",
		}
		args := []string{"repair", "--listen", "/srv/dead"}
		for at := range blocked {
			args = append(args, "--listen", at)
		}
		r := c.Hook(inside, args...)
		if r.Code != 0 {
			t.Fatalf("%+v", r)
		}
		var notices []string
		for at, why := range blocked {
			if !strings.Contains(r.Out, "cannot listen on "+at+": "+why+"\n") {
				t.Errorf("%s is not said of %s: %+v", why, at, r)
			}
			notices = append(notices, "cannot listen on "+at+": "+why)
		}
		host.WantOnce(t, log, notices...)
		c.WantSent(t, log, "works")
		wantAt(t, c, log, "/srv/dead", "replaced")
		if !host.CanConnect(c.Path("/srv/live")) {
			t.Error("the other's socket is gone")
		}
		if r := c.Hook(inside, "undo"); r.Code != 0 {
			t.Errorf("undo: %+v", r)
		}
		for _, at := range []string{"/srv/dir", "/srv/live", "/srv/link"} {
			if _, err := os.Lstat(c.Path(at)); err != nil {
				t.Error(err)
			}
		}
	})
}

// A container that replaces a directory on the way by a link to the shared /dev gets no socket
// there, and is repaired all the same.
func TestEngineListenRace(t *testing.T) {
	eachSide(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool) {
		c.Sh("mkdir -p /srv/x")
		end := host.Background(t, h, c.Args("/bin/sh", "-c",
			"cd /srv; while [ ! -e stop ]; do mv x y; ln -s /dev x; rm x; mv y x; done 2>/dev/null")...)
		for range 25 {
			if r := c.Hook(inside, "repair", "--no-auto-repair", "--listen", "/srv/x/raced"); r.Code != 0 {
				t.Errorf("repair: %+v", r)
			}
			if _, err := os.Lstat(h.Path("/dev/raced")); err == nil {
				t.Error("there is a socket in /dev")
			}
			if r := c.Hook(inside, "undo"); r.Code != 0 {
				t.Errorf("undo: %+v", r)
			}
		}
		c.Sh(">/srv/stop")
		end()
	})
}

// A container's end leaves nothing of what was made for further sockets.
func TestEngineListenEnd(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", "client t 13 x")
	c.Hook("createRuntime", "--listen", chroot)
	c.Write()
	h.Must(c.Args("run")...)
	host.ExpectReceiversEnd(t, h)
	host.WantOnce(t, c.Log(), "x")
	if _, err := os.Lstat(filepath.Join(c.Rootfs, "var/lib")); !os.IsNotExist(err) {
		t.Errorf("left: %v", err)
	}
}

// send sends to a socket of the container.
func send(t *testing.T, c *host.Cheap, network, path, text string) net.Conn {
	t.Helper()
	dir, err := os.Open(c.Path(filepath.Dir(path)))
	host.Check(t, err)
	defer dir.Close()
	conn, err := net.Dial(network, "/proc/self/fd/"+strconv.Itoa(int(dir.Fd()))+"/"+filepath.Base(path))
	host.Check(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = conn.Write([]byte(text))
	host.Check(t, err)
	return conn
}

// A running receiver gets the journal's sockets. They survive an upgrade, with a connected
// standard output. Another program's sockets stay.
func TestEngineJournal(t *testing.T) {
	eachSide(t, func(t *testing.T, h *host.Host, c *host.Cheap, inside bool) {
		const socket, stdout = "/run/systemd/journal/socket", "/run/systemd/journal/stdout"
		log := c.Log(inside)
		for _, args := range [][]string{{"repair"}, {"repair", "--journal"}} {
			if r := c.Hook(inside, args...); r.Code != 0 || strings.Contains(r.Out, "cannot") {
				t.Fatalf("%q: %+v", args, r)
			}
		}
		if !inside { // a new receiver recognizes them by that
			list := addresses(t, h.Path(fmt.Sprintf("/proc/%d/", h.Receivers()[0])))
			if n := strings.Count(strings.Join(list, " "), "/"+names.JournalTemp); len(list) != 3 || n != 2 {
				t.Errorf("the sockets' addresses are %q, want two of three with %s", list, names.JournalTemp)
			}
		}
		send(t, c, "unixgram", socket, "MESSAGE=entry\nSYSLOG_IDENTIFIER=app\nX=y\n")
		out := send(t, c, "unix", stdout, "cat\n\n6\n1\n0\n0\n0\nfirst\nsec")
		host.WantOnce(t, log, "entry", "first")
		if !inside {
			h.Must("kill", "-USR2", strconv.Itoa(h.Receivers()[0]))
			host.WantOnce(t, log, "upgraded to devlogd devel from devel")
		}
		_, err := out.Write([]byte("ond\n"))
		host.Check(t, err)
		send(t, c, "unixgram", socket, "MESSAGE=later\nSYSLOG_IDENTIFIER=app\n")
		host.WantOnce(t, log, "second", "later")
		if r := c.Hook(inside, "repair", "--journal"); r.Code != 0 || !strings.HasPrefix(r.Out, "nothing to do") {
			t.Errorf("again: %+v", r)
		}
		if r := c.Hook(inside, "undo"); r.Code != 0 {
			t.Errorf("undo: %+v", r)
		}
		host.ExpectReceiversEnd(t, h)
		if _, err := os.Lstat(c.Path("/run/systemd")); !os.IsNotExist(err) {
			t.Errorf("left: %v", err)
		}
		c.Sh("mkdir -p /run/systemd/journal")
		host.Bind(t, c.Path(socket))
		if r := c.Hook(inside, "repair", "--journal"); r.Code != 0 || !strings.Contains(r.Out, "cannot listen on "+socket+": somebody else listens there\n") {
			t.Errorf("beside journald: %+v", r)
		}
		c.WantSent(t, log, "works")
	})
}

// addresses are the paths with which a process' sockets were bound.
func addresses(t *testing.T, proc string) (list []string) {
	t.Helper()
	sockets, err := os.ReadFile(proc + "/net/unix")
	host.Check(t, err)
	fds, err := os.ReadDir(proc + "/fd")
	host.Check(t, err)
	for _, fd := range fds {
		to, err := os.Readlink(proc + "/fd/" + fd.Name())
		host.Check(t, err)
		for line := range strings.Lines(string(sockets)) {
			f := strings.Fields(line)
			if len(f) == 8 && to == "socket:["+f[6]+"]" {
				list = append(list, f[7])
			}
		}
	}
	return list
}

// systemd as the container's first process has a journal of its own.
func TestEngineJournalSystemd(t *testing.T) {
	host.NeedContainers(t)
	for _, inside := range []bool{true, false} {
		h := host.NewHost(t)
		host.Journal(t, h)
		c := host.NewCheap(t, h, "c1", host.CheapOptions{After: `printf '#!/bin/sh\nwhile read -r x; do :; done\n' >/tmp/systemd
busybox chmod 755 /tmp/systemd; exec 3>&1 >&2; echo "$pid" >&3; exec 3>&-; exec /tmp/systemd`})
		host.Eventually(t, "it is systemd", func() bool {
			name, err := os.ReadFile(c.Path("/proc/1/comm"))
			return err == nil && string(name) == "systemd\n"
		})
		r := c.Hook(inside, "repair", "--journal")
		if want := ": systemd is the container's first process, and has a journal of its own\n"; r.Code != 0 || strings.Count(r.Out, want) != 2 {
			t.Errorf("inside %v: %+v", inside, r)
		}
		c.WantSent(t, c.Log(inside), "works")
		if _, err := os.Lstat(c.Path("/run/systemd/journal/socket")); !os.IsNotExist(err) {
			t.Errorf("made: %v", err)
		}
	}
}
