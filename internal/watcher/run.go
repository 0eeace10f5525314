package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/syslog"
)

const (
	// runTime is how long a repair may take.
	runTime = 30 * time.Second
	// killTime is how long one that was killed is waited for.
	killTime = 2 * time.Second
	// pollTime is the time between two looks where there are no pidfds.
	pollTime = 50 * time.Millisecond
	// maxSaid is how much of a repair's standard error is kept, in bytes.
	maxSaid = 4 << 10
	// maxSockets is how many sockets are received from.
	maxSockets = 16
)

// command is the command that repairs.
type command struct {
	args []string
	// confined says that it runs in this process's sandbox.
	confined func() bool
	root     file.ID // this process's root directory at the start, in which it is
}

// run is one execution of the command.
type run struct {
	pid      int // 0 once it has been waited for
	status   unix.WaitStatus
	pidfd    int // -1 if the kernel has none
	stderr   int // read end of its standard error; -1 at its end
	pair     int // our end of the socket for files; -1 at its end
	said     []byte
	deadline time.Time
	killed   bool

	before   mark
	hostGone bool // the host's socket had no name any more
}

// start starts the command. There is a result even with an error.
func (w *Watcher) start(now time.Time) (*run, error) {
	r := &run{pidfd: -1, stderr: -1, pair: -1, deadline: now.Add(runTime), before: w.container.devLog(), hostGone: w.container.hostGone()}
	if err := r.start(&w.command, &w.container); err != nil {
		r.close()
		return r, fmt.Errorf("run %s: %w", w.command.args[0], err)
	}
	for _, fd := range []int{r.pidfd, r.stderr, r.pair} {
		if fd < 0 {
			continue
		}
		if err := w.owner.Poll(fd, unix.EPOLLIN); err != nil {
			r.finish(0)
			r.close()
			return r, err
		}
	}
	return r, nil
}

func (r *run) start(cmd *command, c *container) error {
	// The runtime's pivot_root(2) gives a process that was started before it the
	// container's root: the path would name a file of the container's, which is not
	// to be executed with what privileges we were left.
	if file.Root() != cmd.root {
		return errors.New("it was in another root directory")
	}
	null, err := file.OpenNull()
	if err != nil {
		return err
	}
	defer null.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	stderr := os.NewFile(uintptr(pipe[1]), "stderr")
	defer stderr.Close()
	r.stderr = pipe[0]
	if err := unix.SetNonblock(r.stderr, true); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), handover.NameReceiver)
	defer theirs.Close()
	r.pair = pair[0]
	passed := []handover.Passed{{File: c.root, Name: handover.NameRoot}, {File: theirs, Name: handover.NameReceiver}}
	if c.init != nil {
		passed = append(passed, handover.Passed{File: c.init, Name: handover.NameInit})
	}
	files, env := handover.Inheritable(passed)
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
	}
	if cmd.confined() {
		env = append(env, "DEVLOG_CONFINED=1")
	}
	proc, err := os.StartProcess(cmd.args[0], cmd.args, &os.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: append([]*os.File{null, null, stderr}, files...),
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &r.pidfd},
	})
	if err != nil {
		return errors.Unwrap(err) // it repeats the command
	}
	r.pid = proc.Pid
	_ = proc.Release() // it is waited for by its ID
	return nil
}

// wakeAt is when poll should be called although nothing happened.
func (r *run) wakeAt() time.Time {
	switch {
	case r.pidfd < 0:
		return time.Now().Add(pollTime)
	case r.killed:
		return time.Time{}
	}
	return r.deadline
}

// poll takes note of what the command did, and reports whether it has ended
// and, if so, why there is no repair. Then everything of it is closed.
func (r *run) poll(now time.Time) (ended bool, problem error) {
	r.readStderr()
	if !r.wait(unix.WNOHANG) {
		if !r.killed && !now.Before(r.deadline) {
			r.kill()
		}
		return false, nil
	}
	r.readStderr()
	r.close()
	line, _, _ := bytes.Cut(bytes.TrimSpace(r.said), []byte("\n"))
	switch {
	case r.status.Exited() && r.status.ExitStatus() == 0:
		return true, nil
	case r.killed:
		return true, fmt.Errorf("the repair had not ended after %s", runTime)
	case len(line) > 0:
		return true, errors.New(string(line))
	case r.status.Signaled():
		return true, fmt.Errorf("the repair ended by signal %d", r.status.Signal())
	}
	return true, fmt.Errorf("the repair ended with exit status %d", r.status.ExitStatus())
}

// repaired reports whether the command has changed anything: then it says so,
// on standard error.
// Often another container's receiver was faster.
func (r *run) repaired() bool { return len(bytes.TrimSpace(r.said)) > 0 }

// wait waits for the process, or looks whether it has ended (unix.WNOHANG).
func (r *run) wait(flags int) (ended bool) {
	pid, err := unix.Wait4(r.pid, &r.status, flags, nil)
	if errors.Is(err, unix.EINTR) || err == nil && pid == 0 {
		return false
	}
	if err != nil { // somebody else has waited for it: what came of it is lost
		r.status = 0xff << 8
	}
	return true
}

// finish lets the process end by itself for as long as limit, and then kills it.
func (r *run) finish(limit time.Duration) {
	if r.ends(limit) {
		return
	}
	r.kill()
	r.ends(killTime) // in vain if it hangs in the kernel; init will wait for it then
}

// ends waits for the end of the process for as long as limit.
func (r *run) ends(limit time.Duration) bool {
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
			left = min(left, pollTime)
		}
		fds := []unix.PollFd{{Fd: int32(r.pidfd), Events: unix.POLLIN}, {Fd: int32(r.stderr), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(left.Milliseconds())+1) // -1 is not polled; a signal is no harm
	}
}

// kill kills the process and what it has started, if that is in its group.
func (r *run) kill() {
	r.killed = true
	_ = unix.Kill(-r.pid, unix.SIGKILL) // it has not been waited for: the ID is its own
}

// readStderr keeps the first of what the command says and reads all of it.
func (r *run) readStderr() {
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

func (r *run) close() {
	file.Shut(&r.pidfd)
	file.Shut(&r.stderr)
	file.Shut(&r.pair)
}

// takeHandover takes over what the repair has sent.
func (w *Watcher) takeHandover() {
	for w.run.pair >= 0 {
		files, err := handover.ReceiveFiles(w.run.pair)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			w.owner.Say(syslog.Warning, "cannot take the repair over: "+err.Error())
		}
		if files == nil {
			file.Shut(&w.run.pair)
			return
		}
		if err := w.owner.TakeOver(files, w.pause.runs); err != nil {
			w.owner.Say(syslog.Warning, "cannot take the repair over: "+err.Error())
		}
		w.retireOldest()
	}
}

// retireOldest gives up sockets of earlier repairs, which may still have senders, if
// there are too many.
func (w *Watcher) retireOldest() {
	var sockets []Name
	for _, n := range w.owner.Names() {
		if n.Socket >= 0 {
			sockets = append(sockets, n)
		}
	}
	id, err := w.container.resolve()
	for i, n := 0, len(sockets)-maxSockets; n > 0; i++ {
		if s := sockets[i]; err != nil || s.ID != id || i+1 == len(sockets) {
			w.owner.Retire(s.Socket)
			n--
		}
	}
}

// dropRun gives up the sockets of a repair that has failed after it handed them
// over: it took their names back.
func (w *Watcher) dropRun(number int) {
	for _, s := range w.owner.Names() {
		if s.Socket < 0 || s.Dir < 0 || s.Run != number {
			continue
		}
		if id, _ := s.lookup(); id != s.ID {
			w.owner.Retire(s.Socket)
		}
	}
}
