package host

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

// Socket is the path of the private socket on the systemd host.
func (s *SystemdHost) Socket() string {
	return "/proc/" + s.Pid + "/root/run/devlog/log"
}

// Undone undoes the repair, and checks that nothing of it is left.
func (s *SystemdHost) Undone() {
	s.T.Helper()
	if r := s.Hook("undo", "--pid", s.Pid); r.Code != 0 || !strings.HasPrefix(r.Out, "undone:") {
		s.T.Errorf("undo: %+v", r)
	}
	if r := s.Attach("/bin/busybox", "ls", "-a", filepath.Dir(s.Socket())); r.Code == 0 {
		s.T.Errorf("the directory of the socket is still there: %+v", r)
	}
}

// SystemdHost is a host with a running systemd, itself a container. A container on it
// shares its /dev.
type SystemdHost struct {
	T *testing.T
	H *Host
	*LXC
	Pid string // of the container's process, on that host
}

// NewSystemdHost boots it.
func NewSystemdHost(t *testing.T) *SystemdHost {
	t.Helper()
	NeedContainers(t, "lxc")
	Need(t, "systemd")
	h := NewHost(t)
	c := BareLXC(t, h, "host", "lxc.mount.auto = cgroup:mixed sys:mixed")
	BootSystemd(t, c, "mkdir -p /var/log/devlog; touch /tmp/booted\n")
	s := &SystemdHost{T: t, H: h, LXC: c}
	Eventually(t, "systemd is up", func() bool {
		_, err := os.Stat(filepath.Join(c.Rootfs, "tmp/booted"))
		return err == nil
	})
	s.startContainer()
	return s
}

// startContainer starts a container, the service box.
func (s *SystemdHost) startContainer() {
	s.T.Helper()
	s.Must("/usr/bin/systemd-run", "--quiet", "--collect", "--unit=box", "--service-type=exec", "/bin/busybox", "unshare", "-m", "/bin/busybox", "sh", "-c",
		"mount --make-rprivate / && mount -t tmpfs tmpfs /run && touch /run/up && exec sleep 1000")
	s.Pid = strings.TrimSpace(s.Must("/bin/systemctl", "show", "--property=MainPID", "--value", "box").Out)
	Eventually(s.T, "the container is up", func() bool {
		return s.Attach("/bin/busybox", "test", "-e", "/proc/"+s.Pid+"/root/run/up").Code == 0
	})
}

// Must runs a command there. It must succeed.
func (s *SystemdHost) Must(args ...string) Result {
	s.T.Helper()
	r := s.Attach(args...)
	if r.Code != 0 {
		s.T.Fatalf("%q: %+v", args, r)
	}
	return r
}

// Hook runs devlog-hook there.
func (s *SystemdHost) Hook(args ...string) Result {
	s.T.Helper()
	return s.Attach(append([]string{"/opt/devlog/devlog-hook"}, args...)...)
}

// Messages returns the file with the container's messages, as the test sees it.
func (s *SystemdHost) Messages() string {
	return filepath.Join(s.Rootfs, "var/log/devlog/box/messages")
}

// Receiver waits until the only receiver is another one than before, and returns its
// process ID on the fake host.
func (s *SystemdHost) Receiver(before int) (pid int) {
	s.T.Helper()
	Eventually(s.T, "a receiver runs", func() bool {
		all := s.H.Receivers()
		if len(all) == 1 && all[0] != before {
			pid = all[0]
		}
		return pid != 0
	})
	return pid
}

// Connect returns a client's socket to the container's private socket.
func (s *SystemdHost) Connect() int {
	s.T.Helper()
	// The fake host sees the process too, under another number.
	var root string
	dirs, err := filepath.Glob(s.H.Path("/proc/[0-9]*"))
	Check(s.T, err)
	for _, dir := range dirs {
		if status, err := os.ReadFile(dir + "/status"); err == nil && strings.Contains(string(status), "\t"+s.Pid+"\n") &&
			slices.ContainsFunc(strings.Split(string(status), "\n"), func(l string) bool {
				return strings.HasPrefix(l, "NSpid:") && strings.HasSuffix(l, "\t"+s.Pid)
			}) {
			root = dir + "/root"
		}
	}
	const to = "/run/devlog/log"
	d, err := os.Open(root + filepath.Dir(to))
	Check(s.T, err)
	s.T.Cleanup(func() { d.Close() })
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	Check(s.T, err)
	s.T.Cleanup(func() { Check(s.T, unix.Close(fd)) })
	Check(s.T, unix.Connect(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + filepath.Base(to)}))
	return fd
}

// Flood sends numbered messages with that tag from several senders, until the returned
// function is called. That returns how many each has sent.
func (s *SystemdHost) Flood(tag string, senders int) (stop func() []int) {
	s.T.Helper()
	var ended atomic.Bool
	var wait sync.WaitGroup
	sent := make([]int, senders)
	for i := range senders {
		fd := s.Connect()
		wait.Add(1)
		go func() {
			defer wait.Done()
			for !ended.Load() {
				if err := Send(fd, fmt.Sprintf("<14>%s: sender %d number %d.", tag, i, sent[i])); err != nil {
					s.T.Errorf("send: %v", err)
					return
				}
				sent[i]++
			}
		}()
	}
	return func() []int {
		ended.Store(true)
		wait.Wait()
		return sent
	}
}

// ExpectAll compares the file's lines with that tag to what was sent. None may be missing. For
// each kill, the file may have the beginning of one line: a killed write ends where it is
// (generic_perform_write() in mm/filemap.c).
func ExpectAll(t *testing.T, file, tag string, sent []int, kills int) {
	t.Helper()
	seen := map[string]int{}
	complete := func() bool {
		text, err := os.ReadFile(file)
		Check(t, err)
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
	WaitFor(complete)
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

// begins returns whether the line is the beginning of a sent one.
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
