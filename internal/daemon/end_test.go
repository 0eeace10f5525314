package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// freezer makes a cgroup whose processes no signal ends: they are in an uninterruptible sleep.
func freezer(t *testing.T) (dir string, thaw func()) {
	t.Helper()
	dir = filepath.Join("/sys/fs/cgroup/freezer", fmt.Sprintf("devlog-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("no freezer of cgroup v1: ", err)
	}
	thaw = func() { _ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0o644) }
	t.Cleanup(func() {
		thaw()
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			t.Error(err)
		}
		for pid := range strings.FieldsSeq(string(text)) {
			awaitEnd(t, pid)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir, thaw
}

// awaitEnd waits for the end of the process, which was killed.
func awaitEnd(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(n, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000); n == 0 || err != nil {
		t.Errorf("process %s does not end: %v", pid, err)
	}
}

// A receiver that is not ready and that no signal ends does not hold up the hook: it
// is left, and the hook says so.
func TestStartHeldByKernel(t *testing.T) {
	dir, thaw := freezer(t)
	script := filepath.Join(t.TempDir(), "devlogd")
	text := "#!/bin/sh\necho $$ >" + dir + "/cgroup.procs; echo FROZEN >" + dir + "/freezer.state; exec sleep 100\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := Start(Spec{Path: script, Timeout: time.Second})
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "not ready after 1s") || !strings.Contains(err.Error(), "was killed and has not ended after 2s") {
			t.Errorf("Start: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Start waits for a receiver that does not end")
	}
	thaw()
	if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
		t.Error(err)
	}
}

func TestEnd(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := reap(cmd.Process.Pid, time.Now()); !errors.Is(err, errRuns) {
		t.Errorf("a process that runs: %v", err)
	}
	if status, err := End(cmd.Process.Pid); err != nil || status.Signal() != unix.SIGKILL || inWords(status) != "signal: killed" {
		t.Errorf("a process that is killed: %v, %v", status, err)
	}
	if _, err := End(cmd.Process.Pid); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a process that was waited for: %v", err)
	}
}
