package engine

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// Any container can create names in a shared /dev. Twenty receivers that share it do not wake up for
// them, and still repair. If they share /dev/log too, one repairs for all. The test counts context
// switches instead of time.
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
			if name == "link" {
				expectOneRepairs(t, h, cs, receivers)
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

// switches returns the context switches of each process, and so how often it woke up
// (proc_pid_status(5)).
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
				if _, value, ok := strings.Cut(line, "voluntary_ctxt_switches:"); ok { // also nonvoluntary ones
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

// expectOneRepairs expects that a replacement of a shared /dev/log costs one repair or a few,
// however many receivers share it: each waits for its turn, and then has nothing to do. A
// neighbour that never gives up the lock delays the repair only.
func expectOneRepairs(t *testing.T, h *host.Host, cs []*host.Cheap, receivers []int) {
	t.Helper()
	const most = 6
	for _, held := range []bool{false, true} {
		expectCalm(t, h, receivers)
		null, err := os.Open(h.Path("/dev/null"))
		host.Check(t, err)
		if held {
			host.Check(t, unix.Flock(int(null.Fd()), unix.LOCK_EX))
		}
		started := countOpened(t, host.HookOn())
		host.LinkLog(t, h, "/dev/nosuch")
		took := converge(t, cs, "the replacement")
		expectCalm(t, h, receivers)
		n := started()
		t.Logf("lock held %t: %d repairs, right within %v", held, n, took)
		if n < 1 || !held && n > most {
			t.Errorf("lock held %t: %d repairs, want 1 to %d", held, n, most)
		}
		host.Check(t, null.Close())
	}
}

// countOpened counts how often the file is opened, for example to execute it, until the function
// that it returns is called (inotify(7)).
func countOpened(t *testing.T, path string) (end func() int) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	host.Check(t, err)
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
	host.Check(t, err)
	done := make(chan int)
	go func() {
		events, buf := 0, make([]byte, 64*unix.SizeofInotifyEvent)
		for {
			n, err := unix.Read(fd, buf)
			if err != nil || n <= 0 {
				break
			}
			for at := 0; at < n; at += unix.SizeofInotifyEvent {
				if binary.NativeEndian.Uint32(buf[at+4:])&unix.IN_IGNORED != 0 {
					done <- events
					return
				}
				events++
			}
		}
		done <- events
	}()
	return func() int {
		t.Helper()
		_, err := unix.InotifyRmWatch(fd, 1) // its last event
		host.Check(t, err)
		n := <-done
		host.Check(t, unix.Close(fd))
		return n
	}
}
