package runtimes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"devlog/test/host"
)

// A receiver ends with the unit that called the repair, and repair reports that. devlogd.service does
// not end with it.
func TestRepairFromUnit(t *testing.T) {
	s := host.NewSystemdHost(t)
	run := func(args ...string) host.Result {
		said := filepath.Join(s.Rootfs, "tmp/said")
		host.Check(t, os.RemoveAll(said))
		r := s.Attach(append([]string{"/usr/bin/systemd-run", "--quiet", "--collect", "--unit=caller", "--service-type=oneshot",
			"--property=StandardOutput=file:/tmp/said", "--property=StandardError=file:/tmp/said", "--property=TimeoutStopSec=1s"}, args...)...)
		text, err := os.ReadFile(said)
		host.Check(t, err)
		r.Out += string(text)
		return r
	}
	repair := []string{"/opt/devlog/devlog-hook", "repair", "--pid", s.Pid, "--name", "box"}
	if r := run(repair...); !strings.Contains(r.Out, "\nthe receiver ends with caller.service, which started it, unless that service has KillMode=process\n") {
		t.Errorf("without the service: %+v", r)
	}
	host.ExpectReceiversEnd(t, s.H)
	startService(t, s, enableService)
	s.Undone()
	for _, how := range [][]string{{"--nice=0"}, {"--property=ReadOnlyPaths=/opt"}} { // with its own mount namespace
		if r := run(append(how, repair...)...); r.Code != 0 || !strings.Contains(r.Out, "repaired by ") || strings.Contains(r.Out, "ends with") {
			t.Fatalf("%q: %+v", how, r)
		}
		text := "after " + strings.Join(how, " ")
		host.Check(t, host.Send(s.Connect(), "<14>test: "+text))
		host.WantOnce(t, s.Messages(), text)
		if r := s.Hook("check", "--pid", s.Pid); r.Code != 0 || !strings.Contains(r.Out, "restarted by systemd if killed (devlogd.service)") {
			t.Errorf("check: %+v", r)
		}
		s.Undone()
	}
	if r := run("/opt/devlog/devlog-hook", "repair", "--host", "--all"); !strings.Contains(r.Out, "): repaired by ") || strings.Contains(r.Out, "ends with") {
		t.Errorf("repair --host --all: %+v", r)
	}
	if r := s.Hook("check", "--pid", s.Pid); r.Code != 0 || !strings.Contains(r.Out, "(devlogd.service)") {
		t.Errorf("check: %+v", r)
	}
	s.Undone()
	host.EndSystemd(t, s.LXC)
}

// The watcher of a host is in the cgroup of the service that started it, as its main process.
func TestWatcherOfService(t *testing.T) {
	s := host.NewSystemdHost(t)
	s.Must("/usr/bin/systemd-run", "--quiet", "--collect", "--unit=prepare", "--service-type=forking", "/opt/devlog/devlog-hook", "repair", "--host", "--keep")
	s.Receiver(0)
	pid := strings.TrimSpace(s.Must("/bin/systemctl", "show", "--property=MainPID", "--value", "prepare").Out)
	if name := s.Must("/bin/busybox", "cat", "/proc/"+pid+"/comm").Out; name != "devlogd\n" {
		t.Errorf("the service's main process is %q", name)
	}
	log := s.Must("/bin/journalctl", "--no-pager", "--output", "cat", "--unit", "prepare").Out
	if !strings.Contains(log, "the watcher ends with prepare.service, which started it") {
		t.Errorf("it says %q", log)
	}
	s.Must("/bin/systemctl", "stop", "prepare")
	host.ExpectReceiversEnd(t, s.H)
	host.EndSystemd(t, s.LXC)
}

// If the caller is in a container, such as a pod, the receiver ends with it, and a line says
// so.
func TestRepairFromContainer(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	parent := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(parent); err != nil {
		parent = "/sys/fs/cgroup"
	}
	name := fmt.Sprintf("test%d", os.Getpid())
	group := filepath.Join(parent, "docker", name)
	host.Check(t, os.MkdirAll(group, 0o755))
	t.Cleanup(func() {
		host.Eventually(t, "the cgroup is empty", func() bool { return os.Remove(group) == nil })
		_ = os.Remove(filepath.Dir(group)) // another test may use it
	})
	line := host.HookOn() + " repair --pid " + strconv.Itoa(c.PID)
	says := ", in which this program runs; hint: repair on the host itself\n"
	for how, tt := range map[string]struct{ command, says string }{
		"in a container's cgroup":     {"echo $$ >" + group + "/cgroup.procs && exec " + line, "\nthe receiver ends with the container " + name + says},
		"in another mount namespace":  {"exec unshare --mount " + line, "\nthe receiver ends with this container" + says},
		"in the host's, of no engine": {"exec " + line, ""},
	} {
		r := h.Do("sh", "-c", tt.command)
		if r.Code != 0 || tt.says == "" && strings.Contains(r.Out, "ends with") || !strings.Contains(r.Out, tt.says) {
			t.Errorf("%s: %+v", how, r)
		}
		if r := h.Do(host.HookOn(), "undo", "--pid", strconv.Itoa(c.PID)); r.Code != 0 {
			t.Errorf("undo: %+v", r)
		}
	}
}
