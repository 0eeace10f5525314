package runtimes

import (
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// nodeRuns waits until the host's service listens as a new process, and returns that.
func nodeRuns(t *testing.T, h *host.Host, before int) (pid int) {
	t.Helper()
	host.Eventually(t, "the service listens", func() bool {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		host.Check(t, err)
		defer unix.Close(fd)
		all := h.Receivers()
		if len(all) != 1 || all[0] == before || unix.Connect(fd, &unix.SockaddrUnix{Name: h.Path("/run/devlog/node")}) != nil {
			return false
		}
		pid = all[0]
		return true
	})
	return pid
}

// The script for SysV init starts the service that receives for containers. After a restart the
// service receives for them again.
func TestNodeInitScript(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	host.Install(t, h)
	script := func(command string) host.Result {
		return h.Do("sh", host.HookFile(t, "devlogd.init"), command)
	}
	must := func(command string) {
		t.Helper()
		if r := script(command); r.Code != 0 {
			t.Fatalf("%s: %+v", command, r)
		}
	}
	if r := script("status"); r.Code != 3 {
		t.Errorf("status before the start: %+v", r)
	}
	must("start")
	pid := nodeRuns(t, h, 0)
	must("start") // does nothing
	must("status")
	c := host.NewCheap(t, h, "c", host.CheapOptions{})
	hook := func(args ...string) host.Result {
		return h.Do(append([]string{host.InstallDir + "/devlog-hook"}, append(args, "--pid", strconv.Itoa(c.PID))...)...)
	}
	if r := hook("repair", "--name", "c"); r.Code != 0 || r.ErrOut != "" {
		t.Fatalf("repair: %+v", r)
	}
	c.WantSent(t, c.Log(false), "before")
	must("restart")
	pid = nodeRuns(t, h, pid)
	host.Eventually(t, "the container can log again", func() bool { return hook("check").Code == 0 })
	c.WantSent(t, c.Log(false), "after")
	must("reload")
	if again := nodeRuns(t, h, 0); again != pid {
		t.Errorf("reload: the service was %d and is %d", pid, again)
	}
	must("stop")
	host.ExpectReceiversEnd(t, h)
	must("stop") // does nothing
	if r := script("reload"); r.Code == 0 {
		t.Errorf("reload after the stop: %+v", r)
	}
	if r := script("nonsense"); r.Code != 2 {
		t.Errorf("nonsense: %+v", r)
	}
}
