package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// Names in a shared /dev are anybody's to make. Twenty receivers that share it do not
// wake up for them, and each still repairs. It is not the time that is measured: a
// woken receiver is one that was switched to.
func TestEngineNoise(t *testing.T) {
	const most = 20 // context switches of a receiver
	for _, name := range []string{"link", "bind"} {
		t.Run(name, func(t *testing.T) {
			host.NeedContainers(t)
			h := host.NewHost(t)
			host.LiveSocket(t, h)
			if name == "link" {
				h.Must(host.HookOn(), "repair", "--host", "--force")
			}
			cs := startMany(t, h, 20)
			receivers := h.Receivers()
			for _, pid := range receivers {
				host.Eventually(t, "the receiver watches", func() bool { return watches(t, h, pid) })
			}
			expectCalm(t, h, receivers)
			before := switches(t, h, receivers)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			const pairs = 3000
			for range pairs {
				<-tick.C
				host.Check(t, os.WriteFile(h.Path("/dev/noise"), nil, 0o600))
				host.Check(t, os.Remove(h.Path("/dev/noise")))
			}
			worst := 0
			for i, n := range switches(t, h, receivers) {
				worst = max(worst, n-before[i])
			}
			t.Logf("%d names cost a receiver %d context switches at most", pairs, worst)
			if worst > most {
				t.Errorf("%d names cost a receiver %d context switches, want %d at most", pairs, worst, most)
			}
			host.RemoveLog(t, h)
			_ = host.Listen(t, h.Path("/dev/log"))
			t.Logf("repaired within %v", converge(t, cs, "the noise"))
			expectOwn(t, h, cs, "end")
		})
	}
}

// watches returns whether the process watches a file (inotify(7), proc_pid_fdinfo(5)).
func watches(t *testing.T, h *host.Host, pid int) bool {
	t.Helper()
	infos, err := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fdinfo/*", pid)))
	host.Check(t, err)
	return slices.ContainsFunc(infos, func(info string) bool {
		text, _ := os.ReadFile(info) // it may have been closed
		return strings.Contains(string(text), "inotify wd:")
	})
}

// expectCalm waits until the processes have nothing to do: for half a second none
// of them has run.
func expectCalm(t *testing.T, h *host.Host, pids []int) {
	t.Helper()
	last, since := switches(t, h, pids), time.Now()
	host.Eventually(t, "the receivers are calm", func() bool {
		now := switches(t, h, pids)
		if !slices.Equal(now, last) {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second/2
	})
}

// switches is how often each process has been taken off the processor, and so woken
// up (proc_pid_status(5)).
func switches(t *testing.T, h *host.Host, pids []int) []int {
	t.Helper()
	list := make([]int, len(pids))
	for i, pid := range pids {
		threads, err := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/task/*/status", pid)))
		host.Check(t, err)
		for _, path := range threads {
			status, err := os.ReadFile(path)
			host.Check(t, err)
			for line := range strings.Lines(string(status)) {
				n := 0
				if _, value, ok := strings.Cut(line, "voluntary_ctxt_switches:"); ok { // and nonvoluntary
					_, err := fmt.Sscan(value, &n)
					host.Check(t, err)
				}
				list[i] += n
			}
		}
	}
	return list
}

// A container with a private /dev needs none of the host's inotify(7) instances: only the
// container can replace its /dev/log, and that is still repaired.
func TestEngineSilentPrivate(t *testing.T) {
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprintf("inside %t", inside), func(t *testing.T) {
			t.Parallel() // most of the time it waits
			host.NeedContainers(t)
			h := host.NewHost(t)
			c := host.NewCheap(t, h, "c1", host.CheapOptions{Dev: ownDev})
			if r := c.Hook(inside, "repair"); r.Code != 0 {
				t.Fatalf("repair: %+v", r)
			}
			c.Sh("rm /dev/log")
			host.Eventually(t, "/dev/log is repaired", c.OwnSocket)
			pid := h.Receivers()[0]
			fds, err := filepath.Glob(h.Path(fmt.Sprintf("/proc/%d/fd/*", pid)))
			host.Check(t, err)
			for _, fd := range fds {
				if to, err := os.Readlink(fd); err == nil && strings.Contains(to, "inotify") {
					t.Error("the receiver has an inotify instance")
				}
			}
			c.WantSent(t, c.Log(inside), "own")
		})
	}
}
