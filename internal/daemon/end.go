package daemon

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// killTime is how long to wait for the end of a killed process.
const killTime = 2 * time.Second

// End kills a child of this process and waits for it. A child in uninterruptible sleep (state
// D of proc_pid_stat(5)), for example on a file system that hangs, ends only when the kernel
// lets it: End returns after two seconds, with an error. The status is that of wait(2).
func End(pid int) (unix.WaitStatus, error) {
	_ = unix.Kill(pid, unix.SIGKILL) // it may have ended already
	status, err := reap(pid, time.Now().Add(killTime))
	if errors.Is(err, errRuns) {
		err = fmt.Errorf("process %d was killed and has not ended after %s: the kernel holds it; hint: see /proc/%d/stack", pid, killTime, pid)
	}
	return status, err
}

// Reap returns how a child has ended, in words, and whether that was with exit status 0.
func Reap(pid int) (how string, ok bool) {
	status, err := reap(pid, time.Now())
	if err != nil {
		return "its status is unknown", false
	}
	return inWords(status), status == 0
}

// errRuns means that a child has not ended yet.
var errRuns = errors.New("it has not ended")

// reap waits for a child until the deadline. Then the error is errRuns.
func reap(pid int, deadline time.Time) (status unix.WaitStatus, err error) {
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("cannot wait for process %d: %w", pid, err)
		}
		if got == pid {
			return status, nil
		}
		if !time.Now().Before(deadline) {
			return 0, errRuns
		}
		time.Sleep(time.Millisecond)
	}
}

// inWords describes how a process ended.
func inWords(status unix.WaitStatus) string {
	if status.Signaled() {
		return "signal: " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
