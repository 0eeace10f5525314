package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// The kernel kills a receiver that there is no memory for as anybody would.
func TestSupervisedOutOfMemory(t *testing.T) {
	s := host.NewSystemdHost(t)
	s.Repair()
	pid := s.Receiver(0)
	parent, limit, events := "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control"
	if _, err := os.Stat(parent); err != nil {
		parent, limit, events = "/sys/fs/cgroup", "memory.max", "memory.events"
	}
	group := filepath.Join(parent, fmt.Sprintf("devlog-test-%d", os.Getpid()))
	host.Check(t, os.Mkdir(group, 0o755))
	t.Cleanup(func() {
		host.Eventually(t, "the cgroup is empty", func() bool { return os.Remove(group) == nil })
	})
	host.Check(t, os.WriteFile(filepath.Join(group, limit), []byte("33554432"), 0o644))
	stop := s.Flood("flood", 2)
	busy(t, s.Messages())
	// The receiver is the one to be killed, by what another one takes.
	s.H.Must("sh", "-c", fmt.Sprintf("echo 1000 >/proc/%d/oom_score_adj && echo %d >%s/cgroup.procs", pid, pid, group))
	s.H.Do("sh", "-c", "echo $$ >"+group+"/cgroup.procs && exec dd if=/dev/zero of=/dev/null bs=256M count=1")
	s.Receiver(pid)
	text, err := os.ReadFile(filepath.Join(group, events))
	host.Check(t, err)
	if !strings.Contains(string(text), "oom_kill ") || strings.Contains(string(text), "oom_kill 0\n") {
		t.Errorf("%s: %s", events, text)
	}
	busy(t, s.Messages())
	host.ExpectAll(t, s.Messages(), "flood", stop(), 1)
	s.Must("/bin/systemctl", "stop", "box")
	s.Gone()
	host.EndSystemd(t, s.LXC)
}

// An upgrade continues in the service, and the new program is restarted as the
// old one would have been; what it repairs meanwhile is kept.
func TestSupervisedUpgrade(t *testing.T) {
	s := host.NewSystemdHost(t)
	s.Must("/bin/busybox", "mkdir", "/tmp/bin")
	own := filepath.Join(s.Rootfs, "tmp/bin/devlogd")
	host.Check(t, host.Command("cp", filepath.Join(host.BinDir, "devlogd"), own))
	s.Repair("--receiver", "/tmp/bin/devlogd")
	pid := s.Receiver(0)
	stop := s.Flood("flood", 2)
	host.Check(t, host.Command("cp", host.BuildReceiver(t, "v2-of-the-test"), own+".new"))
	host.Check(t, os.Rename(own+".new", own))
	s.H.Must("kill", "-USR2", strconv.Itoa(pid))
	host.WantOnce(t, s.Messages(), "upgraded to devlogd v2-of-the-test from devel")
	if again := s.Receiver(0); again != pid {
		t.Errorf("the receiver was %d and is %d", pid, again)
	}
	for range 3 {
		busy(t, s.Messages())
		s.H.Must("kill", "-9", strconv.Itoa(pid))
		pid = s.Receiver(pid)
	}
	busy(t, s.Messages())
	host.ExpectAll(t, s.Messages(), "flood", stop(), 3)
	// Somebody removes the name, and the receiver is killed once it has been
	// made again: it knows both sockets.
	s.Must("/bin/busybox", "rm", s.Socket())
	s.Again(pid)
	stop = s.Flood("again", 2)
	s.H.Must("kill", "-9", strconv.Itoa(pid))
	s.Receiver(pid)
	busy(t, s.Messages())
	host.ExpectAll(t, s.Messages(), "again", stop(), 1)
	s.Undone()
	host.EndSystemd(t, s.LXC)
}

// The end of the container, or an undo, finds no receiver, since systemd has yet
// to restart it.
func TestSupervisedEndsWhileKilled(t *testing.T) {
	s := host.NewSystemdHost(t)
	s.Repair()
	pid := s.Receiver(0)
	stop := s.Flood("flood", 1)
	busy(t, s.Messages())
	sent := stop()
	s.H.Must("kill", "-9", strconv.Itoa(pid))
	s.Undone()
	host.ExpectAll(t, s.Messages(), "flood", sent, 1)
	for range 3 { // each name is free again, or another is found
		s.Repair()
		s.Undone()
	}
	s.Repair()
	s.H.Must("kill", "-9", strconv.Itoa(s.Receiver(0)))
	s.Must("/bin/systemctl", "stop", "box")
	s.Gone()
	host.EndSystemd(t, s.LXC)
}

// A supervised receiver that cannot start reports the reason, as without systemd, and leaves
// nothing.
func TestSupervisedCannotStart(t *testing.T) {
	s := host.NewSystemdHost(t)
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{4, "the receiver cannot start: cannot open the log file /proc/none/x: ", []string{"--rule", "*.* /proc/none/x"}},
		{4, "ended before it was ready", []string{"--receiver", "/bin/true"}},
	} {
		r := s.Hook(append([]string{"repair", "--supervise", "systemd", "--pid", s.Pid, "--name", "box"}, tt.args...)...)
		if r.Code != tt.code || !strings.Contains(r.ErrOut, tt.says) {
			t.Errorf("%q: %+v", tt.args, r)
		}
		s.Gone()
	}
	// What systemd would read in another way is left as it is.
	const file = "/var/log/devlog/$HOME${HOME}%n$$/messages"
	s.Repair("--rule", "*.* "+file, "--name", "a-$b")
	if r := s.Hook("check", "--pid", s.Pid); !strings.Contains(r.Out, `(devlog-a\x2d\x24b.service)`) {
		t.Errorf("check: %+v", r)
	}
	host.Check(t, host.Send(s.Connect(), "<14>test: odd"))
	host.WantOnce(t, filepath.Join(s.Rootfs, file), "odd")
	s.Undone()
	host.EndSystemd(t, s.LXC)
}

// systemd gives up a receiver that is killed again and again. check says that nobody listens,
// and a repair starts another one.
func TestSupervisedGivenUp(t *testing.T) {
	s := host.NewSystemdHost(t)
	s.Repair()
	for pid := s.Receiver(0); pid != 0; {
		s.H.Must("kill", "-9", strconv.Itoa(pid))
		before := pid
		host.Eventually(t, "it is started anew, or given up", func() bool {
			pid = 0
			if all := s.H.Receivers(); len(all) == 1 && all[0] != before {
				pid = all[0]
			}
			return pid != 0 || s.Attach("/bin/systemctl", "list-units", "--all", "--plain", "--no-legend", "devlog-*.service").Out == ""
		})
	}
	r := s.Hook("check", "--pid", s.Pid)
	for _, says := range []string{"where nobody listens", "broken: connection refused", "has gone: systemd gave up devlog-box.service"} {
		if r.Code != 1 || !strings.Contains(r.Out, says) {
			t.Errorf("check lacks %q: %+v", says, r)
		}
	}
	s.Repair()
	wantOnceAfter(t, s)
	s.Undone()
	host.EndSystemd(t, s.LXC)
}

// A receiver that cannot continue reports the reason in the journal and in check.
func TestSupervisedReason(t *testing.T) {
	s := host.NewSystemdHost(t)
	rules := filepath.Join(s.Rootfs, "tmp/rules")
	host.Check(t, os.WriteFile(rules, []byte("*.* /var/log/devlog/box/messages\n"), 0o644))
	s.Repair("--config", "/tmp/rules")
	pid := s.Receiver(0)
	host.Check(t, os.WriteFile(rules, []byte("*.nonsense /var/log/devlog/box/messages\n"), 0o644))
	s.H.Must("kill", "-9", strconv.Itoa(pid))
	s.Gone()
	var said host.Result
	if !host.WaitFor(func() bool {
		said = s.Attach("/bin/journalctl", "--no-pager", "--output=cat", "--unit=devlog-box")
		return strings.Contains(said.Out, "devlogd: ") && strings.Contains(said.Out, "nonsense")
	}) {
		t.Errorf("the journal: %+v", said)
	}
	r := s.Hook("check", "--pid", s.Pid)
	if r.Code != 1 || !strings.Contains(r.Out, "has gone: devlog-box.service said last: ") || !strings.Contains(r.Out, "nonsense") {
		t.Errorf("check: %+v", r)
	}
	if r = s.Hook("check", "--json", "--pid", s.Pid); !strings.Contains(r.Out, `"reason": "`) {
		t.Errorf("check --json: %+v", r)
	}
	host.Check(t, os.WriteFile(rules, []byte("*.* /var/log/devlog/box/messages\n"), 0o644))
	s.Repair("--config", "/tmp/rules")
	wantOnceAfter(t, s)
	s.Undone()
	host.EndSystemd(t, s.LXC)
}

// wantOnceAfter sends and expects a message.
func wantOnceAfter(t *testing.T, s *host.SystemdHost) {
	t.Helper()
	host.Check(t, host.Send(s.Connect(), "<14>test: after"))
	host.WantOnce(t, s.Messages(), "after")
}

// Without a supervisor, check says that the receiver has ended, and a repair starts another
// one. Where systemd is not running, or inside a container, supervision is refused.
func TestUnsupervised(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	c := host.NewOCI(t, h, "runc", "c1", host.Hold+"exec sleep 1000")
	c.Hook("createRuntime")
	c.Write().Create()
	c.Start()
	_, pid := c.State()
	hook := func(args ...string) host.Result {
		return h.Do(append([]string{filepath.Join(host.BinDir, "devlog-hook")}, append(args, "--pid", strconv.Itoa(pid))...)...)
	}
	if r := hook("check"); r.Code != 0 || !strings.Contains(r.Out, "; not restarted if killed\n") {
		t.Errorf("check: %+v", r)
	}
	if r := c.Exec("/opt/devlog/devlog-hook", "check"); r.Code != 0 || !strings.Contains(r.Out, "receiver  cannot be seen from here: on the host") {
		t.Errorf("check inside: %+v", r)
	}
	h.Must("kill", "-9", strconv.Itoa(h.Receivers()[0]))
	host.ExpectReceiversEnd(t, h)
	r := hook("check")
	for _, says := range []string{"where nobody listens", "broken: connection refused", "was killed and is not restarted; repair starts another"} {
		if r.Code != 1 || !strings.Contains(r.Out, says) {
			t.Errorf("check lacks %q: %+v", says, r)
		}
	}
	before := host.Tree(h)
	if r := hook("repair", "--supervise", "systemd"); r.Code != 3 || !strings.Contains(r.ErrOut, "systemd cannot supervise the receiver here (systemd is not this system's init)") {
		t.Errorf("without systemd: %+v", r)
	}
	if after := host.Tree(h); fmt.Sprint(after) != fmt.Sprint(before) {
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
	host.ExpectReceiversEnd(t, h)
}

// A receiver that only watches /dev/log, for a container's own daemon or the host's, is
// restarted too.
func TestSupervisedKeeper(t *testing.T) {
	s := host.NewSystemdHost(t)
	for _, tt := range []struct{ target, more []string }{
		{[]string{"--pid", s.Pid}, []string{"--receiver", "none"}},
		{[]string{"--host"}, []string{"--keep"}},
	} {
		target := tt.target
		if r := s.Hook(slices.Concat([]string{"repair", "--supervise", "systemd", "--name", "box"}, target, tt.more)...); r.Code != 0 {
			t.Fatalf("%q: %+v", target, r)
		}
		pid := s.Receiver(0)
		for range 2 {
			s.H.Must("kill", "-9", strconv.Itoa(pid))
			pid = s.Receiver(pid)
			r := s.Hook(append([]string{"check"}, target...)...)
			if !strings.Contains(r.Out, "restarted by systemd if killed (devlog-box.service)") {
				t.Errorf("%q: check: %+v", target, r)
			}
		}
		undo := append([]string{"undo"}, target...)
		if r := s.Hook(undo...); r.Code != 0 || !strings.HasPrefix(r.Out, "undone:") {
			t.Errorf("%q: %+v", undo, r)
		}
		s.Gone()
	}
	host.EndSystemd(t, s.LXC)
}
