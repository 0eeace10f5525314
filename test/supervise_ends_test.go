package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The kernel kills a receiver that there is no memory for as anybody would.
func TestSupervisedOutOfMemory(t *testing.T) {
	s := newSystemdHost(t)
	s.repair()
	pid := s.receiver(0)
	parent, limit, events := "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"
	if _, err := os.Stat(parent); err != nil {
		parent, limit, events = "/sys/fs/cgroup", "memory.max", "memory.events"
	}
	group := filepath.Join(parent, fmt.Sprintf("devlog-test-%d", os.Getpid()))
	check(t, os.Mkdir(group, 0o755))
	t.Cleanup(func() {
		eventually(t, "the cgroup is empty", func() bool { return os.Remove(group) == nil })
	})
	check(t, os.WriteFile(filepath.Join(group, limit), []byte("33554432"), 0o644))
	stop := s.flood("flood", 2)
	busy(t, s.messages())
	// The receiver is the one to be killed, by what another one takes.
	s.h.Must("sh", "-c", fmt.Sprintf("echo 1000 >/proc/%d/oom_score_adj && echo %d >%s/cgroup.procs", pid, pid, group))
	s.h.Do("sh", "-c", "echo $$ >"+group+"/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=256M count=1")
	s.receiver(pid)
	text, err := os.ReadFile(filepath.Join(group, events))
	check(t, err)
	if !strings.Contains(string(text), "oom_kill ") || strings.Contains(string(text), "oom_kill 0\n") {
		t.Errorf("%s: %s", events, text)
	}
	busy(t, s.messages())
	expectAll(t, s.messages(), "flood", stop(), 1)
	s.must("/bin/systemctl", "stop", "box")
	s.gone()
	endSystemd(t, s.LXC)
}

// An upgrade goes on in the service, and the new program is started anew as the
// old one would have been; what it heals meanwhile is kept.
func TestSupervisedUpgrade(t *testing.T) {
	s := newSystemdHost(t)
	s.must("/bin/busybox", "mkdir", "/tmp/bin")
	own := filepath.Join(s.Rootfs, "tmp/bin/devlogd")
	check(t, command("cp", filepath.Join(binDir, "devlogd"), own))
	s.repair("--receiver", "/tmp/bin/devlogd")
	pid := s.receiver(0)
	stop := s.flood("flood", 2)
	check(t, command("cp", buildReceiver(t, "v2-of-the-test"), own+".new"))
	check(t, os.Rename(own+".new", own))
	s.h.Must("kill", "-USR2", strconv.Itoa(pid))
	wantOnce(t, s.messages(), "upgraded to devlogd v2-of-the-test from devel")
	if again := s.receiver(0); again != pid {
		t.Errorf("the receiver was %d and is %d", pid, again)
	}
	for range 3 {
		busy(t, s.messages())
		s.h.Must("kill", "-9", strconv.Itoa(pid))
		pid = s.receiver(pid)
	}
	busy(t, s.messages())
	expectAll(t, s.messages(), "flood", stop(), 3)
	// Somebody removes the name, and the receiver is killed once it has been
	// made again: it knows both sockets.
	s.must("/bin/busybox", "rm", s.socket())
	s.again(pid)
	stop = s.flood("again", 2)
	s.h.Must("kill", "-9", strconv.Itoa(pid))
	s.receiver(pid)
	busy(t, s.messages())
	expectAll(t, s.messages(), "again", stop(), 1)
	s.undone()
	endSystemd(t, s.LXC)
}

// socket is the path of the private socket on the systemd host.
func (s *systemdHost) socket() string {
	return "/proc/" + s.pid + "/root/run/devlog/log"
}

// again waits until there is a socket again, which the receiver has healed.
func (s *systemdHost) again(pid int) {
	s.t.Helper()
	eventually(s.t, "the socket is there again", func() bool {
		return s.Attach("/bin/busybox", "test", "-S", s.socket()).Code == 0
	})
	eventually(s.t, "the receiver has said so", func() bool {
		text, err := os.ReadFile(s.messages())
		return err == nil && strings.Contains(string(text), "/dev/log was replaced; repaired")
	})
	if now := s.receiver(0); now != pid {
		s.t.Errorf("the receiver was %d and is %d", pid, now)
	}
}

// undone undoes the repair, and expects that nothing is left of it.
func (s *systemdHost) undone() {
	s.t.Helper()
	if r := s.hook("undo", "--pid", s.pid); r.Code != 0 || !strings.HasPrefix(r.Out, "undone:") {
		s.t.Errorf("undo: %+v", r)
	}
	s.gone()
	if r := s.Attach("/bin/busybox", "ls", "-a", filepath.Dir(s.socket())); r.Code == 0 {
		s.t.Errorf("the directory of the socket is still there: %+v", r)
	}
}

// The end of the container, or an undo, finds no receiver, since systemd has yet
// to start it anew.
func TestSupervisedEndsWhileKilled(t *testing.T) {
	s := newSystemdHost(t)
	s.repair()
	pid := s.receiver(0)
	stop := s.flood("flood", 1)
	busy(t, s.messages())
	sent := stop()
	s.h.Must("kill", "-9", strconv.Itoa(pid))
	s.undone()
	expectAll(t, s.messages(), "flood", sent, 1)
	for range 3 { // each name is free again, or another is found
		s.repair()
		s.undone()
	}
	s.repair()
	s.h.Must("kill", "-9", strconv.Itoa(s.receiver(0)))
	s.must("/bin/systemctl", "stop", "box")
	s.gone()
	endSystemd(t, s.LXC)
}

// What keeps a receiver from starting is said, as it is without systemd, and
// nothing is left.
func TestSupervisedCannotStart(t *testing.T) {
	s := newSystemdHost(t)
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{4, "the receiver cannot start: open the log file /proc/none/x: ", []string{"--rule", "*.* /proc/none/x"}},
		{4, "ended before it was ready", []string{"--receiver", "/bin/true"}},
	} {
		r := s.hook(append([]string{"repair", "--supervise", "systemd", "--pid", s.pid, "--name", "box"}, tt.args...)...)
		if r.Code != tt.code || !strings.Contains(r.ErrOut, tt.says) {
			t.Errorf("%q: %+v", tt.args, r)
		}
		s.gone()
	}
	// What systemd would read in another way is left as it is.
	const file = "/var/log/devlog/$HOME${HOME}%n$$/messages"
	s.repair("--rule", "*.* "+file, "--name", "a-$b")
	if r := s.hook("check", "--pid", s.pid); !strings.Contains(r.Out, `(devlog-a\x2d\x24b.service)`) {
		t.Errorf("check: %+v", r)
	}
	check(t, send(s.connect(), "<14>test: odd"))
	wantOnce(t, filepath.Join(s.Rootfs, file), "odd")
	s.undone()
	endSystemd(t, s.LXC)
}

// systemd gives a receiver up that is killed again and again; check
// says that nobody listens, and a repair starts another one.
func TestSupervisedGivenUp(t *testing.T) {
	s := newSystemdHost(t)
	s.repair()
	for pid := s.receiver(0); pid != 0; {
		s.h.Must("kill", "-9", strconv.Itoa(pid))
		before := pid
		eventually(t, "it is started anew, or given up", func() bool {
			pid = 0
			if all := s.h.Receivers(); len(all) == 1 && all[0] != before {
				pid = all[0]
			}
			return pid != 0 || s.Attach("/bin/systemctl", "list-units", "--all", "--plain", "--no-legend", "devlog-*.service").Out == ""
		})
	}
	r := s.hook("check", "--pid", s.pid)
	for _, says := range []string{"where nobody listens", "broken: connection refused", "has gone: systemd gave up devlog-box.service"} {
		if r.Code != 1 || !strings.Contains(r.Out, says) {
			t.Errorf("check lacks %q: %+v", says, r)
		}
	}
	s.repair()
	wantOnceAfter(t, s)
	s.undone()
	endSystemd(t, s.LXC)
}

// A receiver that cannot go on says why where people look: in the journal, and in
// check.
func TestSupervisedReason(t *testing.T) {
	s := newSystemdHost(t)
	rules := filepath.Join(s.Rootfs, "tmp/rules")
	check(t, os.WriteFile(rules, []byte("*.* /var/log/devlog/box/messages\n"), 0o644))
	s.repair("--config", "/tmp/rules")
	pid := s.receiver(0)
	check(t, os.WriteFile(rules, []byte("*.nonsense /var/log/devlog/box/messages\n"), 0o644))
	s.h.Must("kill", "-9", strconv.Itoa(pid))
	s.gone()
	var said Result
	if !waitFor(func() bool {
		said = s.Attach("/bin/journalctl", "--no-pager", "--output=cat", "--unit=devlog-box")
		return strings.Contains(said.Out, "devlogd: ") && strings.Contains(said.Out, "nonsense")
	}) {
		t.Errorf("the journal: %+v", said)
	}
	r := s.hook("check", "--pid", s.pid)
	if r.Code != 1 || !strings.Contains(r.Out, "has gone: devlog-box.service said last: ") || !strings.Contains(r.Out, "nonsense") {
		t.Errorf("check: %+v", r)
	}
	if r = s.hook("check", "--json", "--pid", s.pid); !strings.Contains(r.Out, `"reason": "`) {
		t.Errorf("check --json: %+v", r)
	}
	check(t, os.WriteFile(rules, []byte("*.* /var/log/devlog/box/messages\n"), 0o644))
	s.repair("--config", "/tmp/rules")
	wantOnceAfter(t, s)
	s.undone()
	endSystemd(t, s.LXC)
}

// wantOnceAfter sends and expects a message.
func wantOnceAfter(t *testing.T, s *systemdHost) {
	t.Helper()
	check(t, send(s.connect(), "<14>test: after"))
	wantOnce(t, s.messages(), "after")
}

// Without a supervisor check says that the receiver has gone, and that a repair
// starts another one, which it does. Where systemd does not run it is not asked
// to supervise, and inside a container nobody can.
func TestUnsupervised(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	c := NewOCI(t, h, "runc", "c1", hold+"exec sleep 1000")
	c.Hook("createRuntime")
	c.Write().Create()
	c.Start()
	_, pid := c.State()
	hook := func(args ...string) Result {
		return h.Do(append([]string{filepath.Join(binDir, "devlog-hook")}, append(args, "--pid", strconv.Itoa(pid))...)...)
	}
	if r := hook("check"); r.Code != 0 || !strings.Contains(r.Out, "; not restarted if killed\n") {
		t.Errorf("check: %+v", r)
	}
	if r := c.Exec("/opt/devlog/devlog-hook", "check"); r.Code != 0 || !strings.Contains(r.Out, "receiver  cannot be seen from here: on the host") {
		t.Errorf("check inside: %+v", r)
	}
	h.Must("kill", "-9", strconv.Itoa(h.Receivers()[0]))
	expectReceiversEnd(t, h)
	r := hook("check")
	for _, says := range []string{"where nobody listens", "broken: connection refused", "was killed and is not restarted; repair starts another"} {
		if r.Code != 1 || !strings.Contains(r.Out, says) {
			t.Errorf("check lacks %q: %+v", says, r)
		}
	}
	before := hostTree(h)
	if r := hook("repair", "--supervise", "systemd"); r.Code != 3 || !strings.Contains(r.ErrOut, "systemd cannot supervise the receiver here (systemd is not this system's init)") {
		t.Errorf("without systemd: %+v", r)
	}
	if after := hostTree(h); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the refusal has changed\n%q\nto\n%q", before, after)
	}
	if r := c.Exec("/opt/devlog/devlog-hook", "repair", "--supervise", "systemd"); r.Code != 3 || !strings.Contains(r.ErrOut, "a receiver inside the container ends with it") {
		t.Errorf("inside: %+v", r)
	}
	if r := hook("repair", "--supervise", "x"); r.Code != 2 || !strings.Contains(r.ErrOut, `supervisor "x" does not exist: use auto, none or systemd`) {
		t.Errorf("an unknown one: %+v", r)
	}
	if r := hook("repair"); r.Code != 0 || len(h.Receivers()) != 1 {
		t.Errorf("repair: %+v, receivers %v", r, h.Receivers())
	}
	h.Must(c.Args("delete", "--force")...)
	expectReceiversEnd(t, h)
}

// What only keeps a repair, for a container's own daemon or the host's, is
// started anew as well.
func TestSupervisedKeeper(t *testing.T) {
	s := newSystemdHost(t)
	for _, tt := range []struct{ target, more []string }{
		{[]string{"--pid", s.pid}, []string{"--receiver", "none"}},
		{[]string{"--host"}, []string{"--keep"}},
	} {
		target := tt.target
		if r := s.hook(slices.Concat([]string{"repair", "--supervise", "systemd", "--name", "box"}, target, tt.more)...); r.Code != 0 {
			t.Fatalf("%q: %+v", target, r)
		}
		pid := s.receiver(0)
		for range 2 {
			s.h.Must("kill", "-9", strconv.Itoa(pid))
			pid = s.receiver(pid)
			r := s.hook(append([]string{"check"}, target...)...)
			if !strings.Contains(r.Out, "restarted by systemd if killed (devlog-box.service)") {
				t.Errorf("%q: check: %+v", target, r)
			}
		}
		undo := append([]string{"undo"}, target...)
		if r := s.hook(undo...); r.Code != 0 || !strings.HasPrefix(r.Out, "undone:") {
			t.Errorf("%q: %+v", undo, r)
		}
		s.gone()
	}
	endSystemd(t, s.LXC)
}
