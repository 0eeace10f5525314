package rerun

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rerun/reruntest"
)

func TestMain(m *testing.M) {
	reruntest.Main()
	os.Exit(m.Run())
}

// started starts the command of a box with that mode.
func started(t *testing.T, mode string, now time.Time) *Run {
	t.Helper()
	return startedAs(t, mode, now, false)
}

// startedAs is started with a command that is confined, or not.
func startedAs(t *testing.T, mode string, now time.Time, confined bool) *Run {
	t.Helper()
	b := reruntest.New(t, mode)
	root, err := os.Open(b.Root)
	b.Must(err)
	t.Cleanup(func() { _ = root.Close() })
	c := NewCommand(b.Command(), func() bool { return confined })
	r, err := c.Start(root, nil, now)
	b.Must(err)
	t.Cleanup(func() {
		r.Finish(0)
		r.Close()
	})
	return r
}

// end polls the run until it has ended.
func end(t *testing.T, r *Run, now time.Time) error {
	t.Helper()
	for {
		ended, problem := r.Poll(now)
		if ended {
			return problem
		}
		fds := []unix.PollFd{{Fd: int32(r.pidfd), Events: unix.POLLIN}, {Fd: int32(r.stderr), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 30_000); n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatalf("it does not end: %v", err)
		}
	}
}

func TestRun(t *testing.T) {
	for mode, want := range map[string]struct {
		changed bool
		problem string
	}{
		"nothing": {},
		"claim":   {changed: true},
		"fail x":  {true, "x"}, // without the second line
	} {
		now := time.Now()
		r := started(t, mode, now)
		problem := end(t, r, now)
		if r.Changed() != want.changed || (problem == nil) != (want.problem == "") || problem != nil && problem.Error() != want.problem {
			t.Errorf("%s: changed %t, %v", mode, r.Changed(), problem)
		}
		r.Close()
		if files := r.Files(); len(files) > 0 {
			t.Errorf("%s: %v are open", mode, files)
		}
	}
}

// Files that the command handed over stay open after its end.
func TestReceive(t *testing.T) {
	for _, confined := range []bool{false, true} {
		now := time.Now()
		r := startedAs(t, "bind x", now, confined)
		if err := end(t, r, now); err != nil {
			t.Fatal(err)
		}
		files, err := r.Receive()
		if err != nil || len(files) != 3 {
			t.Fatalf("confined %t: %v, %v", confined, files, err)
		}
		if at, err := unix.Getsockname(files[0].FD); err != nil || !strings.HasSuffix(at.(*unix.SockaddrUnix).Name, "/run/devlog/tmp") {
			t.Errorf("confined %t: the socket is at %v, %v", confined, at, err)
		}
		for _, f := range files {
			_ = unix.Close(f.FD)
		}
		if files, err := r.Receive(); files != nil || err != nil {
			t.Errorf("confined %t: at the end: %v, %v", confined, files, err)
		}
	}
}

func TestKilled(t *testing.T) {
	now := time.Now()
	r := started(t, "bind-hang x", now)
	pid := r.pid
	if at := r.WakeAt(); !at.Equal(now.Add(Timeout)) {
		t.Errorf("wakes at %v", at)
	}
	if ended, _ := r.Poll(now.Add(Timeout - 1)); ended || r.killed {
		t.Error("killed too early")
	}
	problem := end(t, r, now.Add(Timeout))
	if problem == nil || problem.Error() != "the repair had not ended after 30s" {
		t.Errorf("%v", problem)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("it still runs: %v", err)
	}
}

func TestFinish(t *testing.T) {
	r := started(t, "bind-hang x", time.Now())
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.pair), Events: unix.POLLIN}}, 30_000); n != 1 {
		t.Fatalf("it hands nothing over: %v", err) // by then it ignores SIGTERM
	}
	for _, pidfd := range []int{r.pidfd, -1} { // without a pidfd it is polled
		saved := r.pidfd
		r.pidfd = pidfd
		if r.ends(10 * time.Millisecond) {
			t.Error("it has ended")
		}
		r.pidfd = saved
	}
	if r.Finish(0); !r.killed || !r.status.Signaled() {
		t.Errorf("killed %t, status %v", r.killed, r.status)
	}
}

// A command that waits for a lock is ended at once: an undo may have the lock, and wait for the
// receiver's end.
func TestFinishWaiting(t *testing.T) {
	r := started(t, "wait", time.Now())
	r.Finish(time.Minute)
	if r.killed || r.status.Signal() != unix.SIGTERM {
		t.Errorf("killed %t, status %v", r.killed, r.status)
	}
}

// After pivot_root(2) the command's path would name a file of the container's.
func TestAnotherRoot(t *testing.T) {
	b := reruntest.New(t, "link")
	c := NewCommand(b.Command(), func() bool { return false })
	c.root.Ino++
	if _, err := c.Start(nil, nil, time.Now()); err == nil || !strings.HasSuffix(err.Error(), ": its path is in another root directory") {
		t.Errorf("%v", err)
	}
	if b.Runs() > 0 {
		t.Error("it ran")
	}
}
