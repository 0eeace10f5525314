package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

const enableService = "systemctl enable --now devlogd.socket"

// startService installs the host's devlogd.service, enables it by that command, and repairs the
// container with it.
func startService(t *testing.T, s *host.SystemdHost, enable string) {
	t.Helper()
	for _, unit := range []string{"devlogd.service", "devlogd.socket"} {
		text, err := os.ReadFile(host.HookFile(t, unit))
		host.Check(t, err)
		to := filepath.Join(s.Rootfs, "etc/systemd/system", unit)
		host.Check(t, os.MkdirAll(filepath.Dir(to), 0o755))
		host.Check(t, os.WriteFile(to, []byte(strings.ReplaceAll(string(text), "/usr/libexec/devlog/", "/opt/devlog/")), 0o644))
	}
	s.Must("/bin/systemctl", "daemon-reload")
	s.Must("/bin/busybox", "sh", "-euc", "PATH=/bin:/usr/bin\n"+enable)
	if r := s.Hook("repair", "--receiver", "node", "--pid", s.Pid, "--name", "box"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v\n%s", r, s.Attach("/bin/journalctl", "--no-pager", "-n", "50").Out)
	}
}

// mainPID returns the service's new main process.
func mainPID(t *testing.T, s *host.SystemdHost, before string) (pid string) {
	t.Helper()
	host.Eventually(t, "devlogd.service runs", func() bool {
		pid = strings.TrimSpace(s.Attach("/bin/systemctl", "show", "--property=MainPID", "--value", "devlogd.service").Out)
		return pid != "0" && pid != before && s.Attach("/bin/systemctl", "is-active", "devlogd.service").Code == 0
	})
	return pid
}

// A restart of the service loses nothing, and no send fails. After a kill the lost messages are
// counted. Then its containers can still be listed, repaired and undone.
func TestNodeService(t *testing.T) {
	s := host.NewSystemdHost(t)
	startService(t, s, host.Documented(t, "../docs/node.md"))
	pid := mainPID(t, s, "")
	s.Must("/bin/systemctl", "restart", "devlogd.service")
	pid = mainPID(t, s, pid)
	if host.Exists(s.Messages()) { // the first message creates it
		t.Errorf("%s exists before the first message", s.Messages())
	}
	stop := s.Flood("restarted", 4)
	for range 3 {
		s.Must("/bin/systemctl", "restart", "devlogd.service")
		pid = mainPID(t, s, pid)
	}
	host.ExpectAll(t, s.Messages(), "restarted", stop(), 0)

	stop = s.Flood("killed", 4)
	for range 3 {
		s.Must("/bin/systemctl", "kill", "--kill-who=main", "-s", "KILL", "devlogd.service")
		pid = mainPID(t, s, pid)
	}
	sent := stop()
	expectCounted(t, s, "killed", sent)
	if r := s.Hook("check", "--pid", s.Pid); r.Code != 0 {
		t.Errorf("check: %+v", r)
	}
	if r := s.Hook("repair", "--pid", s.Pid, "--name", "box"); r.Code != 0 || !strings.Contains(r.Out, "nothing to do") {
		t.Errorf("repair: %+v", r)
	}
	if r := s.Hook("undo", "--pid", s.Pid); r.Code != 0 || !strings.HasPrefix(r.Out, "undone:") {
		t.Errorf("undo: %+v", r)
	}
	if r := s.Hook("list"); !strings.Contains(r.Out, "No container") {
		t.Errorf("list: %+v", r)
	}
	host.EndSystemd(t, s.LXC)
}

// expectCounted expects that each message is in the log, or in a notice of lost ones.
func expectCounted(t *testing.T, s *host.SystemdHost, tag string, sent []int) {
	t.Helper()
	var missing, lost int
	if !host.WaitFor(func() bool {
		text, err := os.ReadFile(s.Messages())
		host.Check(t, err)
		missing, lost = 0, 0
		seen := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			if _, what, ok := strings.Cut(line, " "+tag+": "); ok {
				seen[what] = true
			}
			var n int
			if _, after, ok := strings.Cut(line, "]: "); ok && strings.Contains(line, "devlogd was killed") {
				if _, err := fmt.Sscanf(after, "up to %d messages lost", &n); err == nil {
					lost += n
				}
			}
		}
		for i, n := range sent {
			for k := range n {
				if !seen[fmt.Sprintf("sender %d number %d.\n", i, k)] {
					missing++
				}
			}
		}
		return missing <= lost
	}) {
		t.Errorf("%d messages are missing, and %d are counted as lost", missing, lost)
	}
	t.Logf("%d of %v missing, %d counted as lost", missing, sent, lost)
}
