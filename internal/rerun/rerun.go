// Package rerun runs the command that repairs /dev/log again: devlog-hook, with the handles by
// which it finds the container, and a socket for the files that it hands over.
package rerun

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
	"devlog/internal/file"
	"devlog/internal/handover"
)

const (
	// Timeout is how long a repair may take.
	Timeout = 30 * time.Second
	// killTimeout is how long to wait for a killed repair.
	killTimeout = 2 * time.Second
	// pollInterval is how often to look for the end of the repair without pidfds.
	pollInterval = 50 * time.Millisecond
	// maxSaid is how much of the repair's standard error is kept, in bytes.
	maxSaid = 4 << 10
)

// Command is the command that repairs.
type Command struct {
	args []string
	// confined says that it runs in this process's sandbox.
	confined func() bool
	root     file.ID // this process's root directory at the start
}

// NewCommand returns a command with these arguments, its path first. confined says whether
// this process is in its sandbox when the command starts.
func NewCommand(args []string, confined func() bool) Command {
	return Command{args: args, confined: confined, root: file.Root()}
}

// Run is one execution of the command.
type Run struct {
	pid      int // 0 after it was waited for
	status   unix.WaitStatus
	cost     time.Duration // processor time of the ended process and its children
	pidfd    int           // -1 if the kernel has none
	stderr   int           // read end of the pipe; -1 at its end
	pair     int           // our end of the socket for files; -1 at its end
	root     *os.File      // the container's
	unbound  *os.File      // socket for a confined command to give a name to; otherwise nil
	said     []byte
	deadline time.Time
	killed   bool
}

// Start starts the command, with the container's root directory and a handle (pidfd) on its
// first process, which may be nil.
func (c *Command) Start(root, init *os.File, now time.Time) (*Run, error) {
	r := &Run{pidfd: -1, stderr: -1, pair: -1, root: root, deadline: now.Add(Timeout)}
	if err := r.start(c, root, init); err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot run %s: %w", c.args[0], err)
	}
	return r, nil
}

func (r *Run) start(c *Command, root, init *os.File) error {
	// The runtime's pivot_root(2) moves processes that started before it into the
	// container's root. The path would then name a file of the container's, which must not
	// run with this process's privileges.
	if file.Root() != c.root {
		return errors.New("its path is in another root directory")
	}
	null, err := file.OpenNull()
	if err != nil {
		return err
	}
	defer null.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	stderr := os.NewFile(uintptr(pipe[1]), "stderr")
	defer stderr.Close()
	r.stderr = pipe[0]
	if err := unix.SetNonblock(r.stderr, true); err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot make a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), handover.NameReceiver)
	defer theirs.Close()
	r.pair = pair[0]
	passed := []handover.Passed{{File: root, Name: handover.NameRoot}, {File: theirs, Name: handover.NameReceiver}}
	if init != nil {
		passed = append(passed, handover.Passed{File: init, Name: handover.NameInit})
	}
	confined := c.confined()
	if confined { // the sandbox does not let it pass one to this process
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot make a socket: %w", err)
		}
		r.unbound = os.NewFile(uintptr(fd), handover.NameUnbound)
		passed = append(passed, handover.Passed{File: r.unbound, Name: handover.NameUnbound})
	}
	files, env := handover.Inheritable(passed)
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
	}
	if confined {
		env = append(env, "DEVLOG_CONFINED=1")
	}
	proc, err := os.StartProcess(c.args[0], c.args, &os.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: append([]*os.File{null, null, stderr}, files...),
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &r.pidfd},
	})
	if err != nil {
		return errors.Unwrap(err) // without the command, which Start adds
	}
	r.pid = proc.Pid
	_ = proc.Release() // Wait4 waits for it
	return nil
}

// WakeAt returns when to call Poll if no event comes before; the zero time for never.
func (r *Run) WakeAt() time.Time {
	switch {
	case r.pidfd < 0:
		return time.Now().Add(pollInterval)
	case r.killed:
		return time.Time{}
	}
	return r.deadline
}

// Poll returns whether the command has ended and, if it failed, why. It kills a command that
// takes too long. What an ended command handed over can still be received.
func (r *Run) Poll(now time.Time) (ended bool, problem error) {
	r.readStderr()
	if !r.wait(unix.WNOHANG) {
		if !r.killed && !now.Before(r.deadline) {
			r.kill()
		}
		return false, nil
	}
	r.readStderr()
	line, _, _ := bytes.Cut(bytes.TrimSpace(r.said), []byte("\n"))
	switch {
	case r.status.Exited() && r.status.ExitStatus() == 0:
		return true, nil
	case r.killed:
		return true, fmt.Errorf("the repair had not ended after %s", Timeout)
	case len(line) > 0:
		return true, errors.New(string(line))
	case r.status.Signaled():
		return true, fmt.Errorf("the repair ended by signal %d", r.status.Signal())
	}
	return true, fmt.Errorf("the repair ended with exit status %d", r.status.ExitStatus())
}

// Changed returns whether the command changed anything: then it writes to standard error.
// It often does not, because another container's receiver was faster.
func (r *Run) Changed() bool { return len(bytes.TrimSpace(r.said)) > 0 }

// Cost returns the processor time that the ended command took.
func (r *Run) Cost() time.Duration { return r.cost }

// wait waits for the end of the process, or returns at once (unix.WNOHANG).
func (r *Run) wait(flags int) (ended bool) {
	var used unix.Rusage
	pid, err := unix.Wait4(r.pid, &r.status, flags, &used)
	if errors.Is(err, unix.EINTR) || err == nil && pid == 0 {
		return false
	}
	r.cost = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	if err != nil { // the process was waited for elsewhere: its status is lost
		r.status = 0xff << 8
	}
	return true
}

// Finish ends a command that has not begun to repair, by SIGTERM: the command may wait for a lock,
// and the lock's owner for this process. Once it repairs, the command ignores that signal. Finish
// waits for its end, and kills it after limit.
func (r *Run) Finish(limit time.Duration) {
	if r.ends(0) {
		return
	}
	_ = unix.Kill(r.pid, unix.SIGTERM) // the process was not waited for, so the ID is still its own
	if r.ends(limit) {
		return
	}
	r.kill()
	r.ends(killTimeout) // a process that hangs in the kernel is left to init
}

// ends returns whether the process ends within limit.
func (r *Run) ends(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; {
		r.readStderr()
		if r.wait(unix.WNOHANG) {
			return true
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		if r.pidfd < 0 {
			left = min(left, pollInterval)
		}
		fds := []unix.PollFd{{Fd: int32(r.pidfd), Events: unix.POLLIN}, {Fd: int32(r.stderr), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(left.Milliseconds())+1) // poll ignores -1; a signal only makes it return early
	}
}

// kill kills the process and its process group.
func (r *Run) kill() {
	r.killed = true
	_ = unix.Kill(-r.pid, unix.SIGKILL) // the process was not waited for, so the ID is still its own
}

// readStderr reads the command's standard error. It keeps the first maxSaid bytes.
func (r *Run) readStderr() {
	var buf [1 << 10]byte
	for r.stderr >= 0 {
		n, err := unix.Read(r.stderr, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil || n <= 0:
			file.Shut(&r.stderr)
		default:
			r.said = append(r.said, buf[:min(n, maxSaid-len(r.said))]...)
		}
	}
}

// Close closes the Run's descriptors.
func (r *Run) Close() {
	file.Shut(&r.pidfd)
	file.Shut(&r.stderr)
	file.Shut(&r.pair)
	if r.unbound != nil {
		_ = r.unbound.Close()
		r.unbound = nil
	}
}

// Files returns the descriptors whose events (EPOLLIN) need a call of Poll and of Receive.
func (r *Run) Files() []int {
	return slices.DeleteFunc([]int{r.pidfd, r.stderr, r.pair}, func(fd int) bool { return fd < 0 })
}

// Receive returns files that the command handed over; nil if there are none now. Several calls
// may be needed to get all. An error beside files is about others, which could not be opened.
func (r *Run) Receive() ([]handover.File, error) {
	if r.pair < 0 {
		return nil, nil
	}
	files, err := r.receive()
	switch {
	case errors.Is(err, unix.EAGAIN):
		return nil, nil
	case files == nil:
		file.Shut(&r.pair)
	}
	return files, err
}

// receive receives one message of the command's.
func (r *Run) receive() ([]handover.File, error) {
	if r.unbound == nil {
		return handover.ReceiveFiles(r.pair)
	}
	return handover.ReceiveNames(r.pair, int(r.unbound.Fd()), func(path string) (int, error) {
		return dirfd.OpenInRoot(int(r.root.Fd()), path, unix.O_DIRECTORY)
	})
}
