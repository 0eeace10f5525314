package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// systemdHost is a host with a running systemd, itself a container, and on it a
// container of its own that shares its /dev.
type systemdHost struct {
	t *testing.T
	h *Host
	*LXC
	pid string // of the container's process, on that host
}

// newSystemdHost boots it.
func newSystemdHost(t *testing.T) *systemdHost {
	t.Helper()
	needContainers(t, "lxc")
	need(t, "systemd")
	h := NewHost(t)
	c := newLXC(t, h, "host", "lxc.mount.auto = cgroup:mixed sys:mixed")
	check(t, os.MkdirAll(filepath.Join(c.Rootfs, "usr/bin"), 0o755))
	check(t, command("cp", unpacked("systemd/usr/bin/systemd-run"), filepath.Join(c.Rootfs, "usr/bin")))
	bootSystemd(t, c, "mkdir -p /var/log/devlog; touch /tmp/booted\n")
	s := &systemdHost{t: t, h: h, LXC: c}
	eventually(t, "systemd is up", func() bool {
		_, err := os.Stat(filepath.Join(c.Rootfs, "tmp/booted"))
		return err == nil
	})
	s.startContainer()
	return s
}

// startContainer starts a container, the service box.
func (s *systemdHost) startContainer() {
	s.t.Helper()
	s.must("/usr/bin/systemd-run", "--quiet", "--collect", "--unit=box", "--service-type=exec", "/bin/busybox", "unshare", "-m", "/bin/busybox", "sh", "-c",
		"mount --make-rprivate / && mount -t tmpfs tmpfs /run && touch /run/up && exec sleep 1000")
	s.pid = strings.TrimSpace(s.must("/bin/systemctl", "show", "--property=MainPID", "--value", "box").Out)
	eventually(s.t, "the container is up", func() bool {
		return s.Attach("/bin/busybox", "test", "-e", "/proc/"+s.pid+"/root/run/up").Code == 0
	})
}

// must runs a command there that has to succeed.
func (s *systemdHost) must(args ...string) Result {
	s.t.Helper()
	r := s.Attach(args...)
	if r.Code != 0 {
		s.t.Fatalf("%q: %+v", args, r)
	}
	return r
}

// hook runs devlog-hook there.
func (s *systemdHost) hook(args ...string) Result {
	s.t.Helper()
	return s.Attach(append([]string{"/opt/devlog/devlog-hook"}, args...)...)
}

// repair repairs the container with a receiver that systemd supervises.
func (s *systemdHost) repair(args ...string) {
	s.t.Helper()
	if r := s.hook(append([]string{"repair", "--supervise", "systemd", "--pid", s.pid, "--name", "box"}, args...)...); r.Code != 0 {
		log := s.Attach("/bin/journalctl", "--no-pager", "-n", "50").Out
		s.t.Fatalf("repair: %+v\n%s", r, log)
	}
}

// messages is the file with the container's messages, seen from the test.
func (s *systemdHost) messages() string {
	return filepath.Join(s.Rootfs, "var/log/devlog/box/messages")
}

// receiver is the one receiver there is, by its process ID on the fake host, once
// it is another one than before.
func (s *systemdHost) receiver(before int) (pid int) {
	s.t.Helper()
	eventually(s.t, "a receiver runs", func() bool {
		all := s.h.Receivers()
		if len(all) == 1 && all[0] != before {
			pid = all[0]
		}
		return pid != 0
	})
	return pid
}

// connect returns a client's socket to the container's private socket.
func (s *systemdHost) connect() int {
	s.t.Helper()
	// The process is one of the fake host's too, under another number.
	var root string
	dirs, err := filepath.Glob(s.h.Path("/proc/[0-9]*"))
	check(s.t, err)
	for _, dir := range dirs {
		if status, err := os.ReadFile(dir + "/status"); err == nil && strings.Contains(string(status), "\t"+s.pid+"\n") &&
			slices.ContainsFunc(strings.Split(string(status), "\n"), func(l string) bool {
				return strings.HasPrefix(l, "NSpid:") && strings.HasSuffix(l, "\t"+s.pid)
			}) {
			root = dir + "/root"
		}
	}
	const to = "/run/devlog/log"
	d, err := os.Open(root + filepath.Dir(to))
	check(s.t, err)
	s.t.Cleanup(func() { d.Close() })
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(s.t, err)
	s.t.Cleanup(func() { check(s.t, unix.Close(fd)) })
	check(s.t, unix.Connect(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + filepath.Base(to)}))
	return fd
}

// flood sends numbered messages with that tag from several senders until the function it
// returns is called, which returns how many each has sent.
func (s *systemdHost) flood(tag string, senders int) (stop func() []int) {
	s.t.Helper()
	var ended atomic.Bool
	var wait sync.WaitGroup
	sent := make([]int, senders)
	for i := range senders {
		fd := s.connect()
		wait.Go(func() {
			for !ended.Load() {
				if err := send(fd, fmt.Sprintf("<14>%s: sender %d number %d.", tag, i, sent[i])); err != nil {
					s.t.Errorf("send: %v", err)
					return
				}
				sent[i]++
			}
		})
	}
	return func() []int {
		ended.Store(true)
		wait.Wait()
		return sent
	}
}

// expectAll compares what is in the file with that tag to what was sent: nothing may be missing,
// and nothing else be there but the beginning of a line for each kill at most: a write that is
// killed ends where it is (generic_perform_write() in mm/filemap.c).
func expectAll(t *testing.T, file, tag string, sent []int, kills int) {
	t.Helper()
	seen := map[string]int{}
	complete := func() bool {
		text, err := os.ReadFile(file)
		check(t, err)
		clear(seen)
		for line := range bytes.Lines(text) {
			if _, what, ok := strings.Cut(string(line), " "+tag+": "); ok {
				seen[what]++
			}
		}
		for i, n := range sent {
			if n > 0 && seen[fmt.Sprintf("sender %d number %d.\n", i, n-1)] == 0 {
				return false
			}
		}
		return true
	}
	waitFor(complete)
	missing, twice, total, torn := 0, 0, 0, 0
	for i, n := range sent {
		for k := range n {
			total++
			what := fmt.Sprintf("sender %d number %d.\n", i, k)
			switch seen[what] {
			case 0:
				missing++
			case 1:
			default:
				twice++
			}
			delete(seen, what)
		}
	}
	for what, n := range seen {
		if torn += n; !begins(what, sent) {
			t.Errorf("a line is none that was sent: %q", what)
		}
	}
	if missing > 0 || torn > kills {
		t.Errorf("%d of %d messages are missing, and %d of the lines are torn", missing, total, torn)
	}
	t.Logf("%d messages, %d twice, %d lines torn", total, twice, torn)
}

// begins says that the line is the beginning of one that was sent.
func begins(line string, sent []int) bool {
	text := strings.TrimSuffix(line, "\n")
	for i, n := range sent {
		before := fmt.Sprintf("sender %d number ", i)
		if strings.HasPrefix(before, text) {
			return true
		}
		if number, ok := strings.CutPrefix(text, before); ok {
			k, err := strconv.Atoi(strings.TrimSuffix(number, "."))
			return err == nil && k < n
		}
	}
	return false
}

// killedSaid is what a receiver says that was killed before.
const killedSaid = "killed; restarted by systemd"

// Whatever kills a receiver, and however often, no message is lost, and it keeps
// the repair and removes all that it made, as one that was never killed.
func TestSupervisedKilled(t *testing.T) {
	s := newSystemdHost(t)
	s.repair()
	pid := s.receiver(0)
	if r := s.hook("check", "--pid", s.pid); r.Code != 0 || !strings.Contains(r.Out, "restarted by systemd if killed (devlog-box.service)") {
		t.Errorf("check: %+v", r)
	}
	stop := s.flood("flood", 4)
	const kills = 30
	for i := range kills {
		s.h.Must("kill", "-9", strconv.Itoa(pid))
		pid = s.receiver(pid)
		busy(t, s.messages())
		eventually(t, "it says that it was killed", func() bool { // one that is killed before cannot
			text, err := os.ReadFile(s.messages())
			return err == nil && strings.Count(string(text), killedSaid) > i
		})
	}
	sent := stop()
	expectAll(t, s.messages(), "flood", sent, kills)
	text, err := os.ReadFile(s.messages())
	check(t, err)
	if n := strings.Count(string(text), killedSaid); n != kills {
		t.Errorf("it says %d times that it was killed", n)
	}
	if strings.Contains(string(text), " messages lost ") {
		t.Error("it says that messages were lost")
	}
	if r := s.hook("check", "--pid", s.pid); r.Code != 0 || !strings.Contains(r.Out, "devlog-box.service") {
		t.Errorf("check: %+v", r)
	}
	s.hook("repair", "--pid", s.pid) // does nothing
	if again := s.receiver(0); again != pid {
		t.Errorf("a second repair has started another receiver")
	}
	s.must("/bin/systemctl", "stop", "box")
	s.gone()
	endSystemd(t, s.LXC)
}

// busy waits until the file grows.
func busy(t *testing.T, file string) {
	t.Helper()
	before, err := os.Stat(file)
	check(t, err)
	eventually(t, "messages are written", func() bool {
		now, err := os.Stat(file)
		return err == nil && now.Size() > before.Size()
	})
}

// gone expects that nothing is left of the receiver.
func (s *systemdHost) gone() {
	s.t.Helper()
	expectReceiversEnd(s.t, s.h)
	var left Result
	if !waitFor(func() bool {
		left = s.Attach("/bin/systemctl", "list-units", "--all", "--plain", "--no-legend", "devlog-*.service")
		return left.Out == ""
	}) {
		s.t.Errorf("units: %+v", left)
	}
	if r := s.Attach("/bin/busybox", "sh", "-c", "ls -d /run/devlog-start-*"); r.Code == 0 {
		s.t.Errorf("left: %+v", r)
	}
}
