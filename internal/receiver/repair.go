package receiver

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

// repair is one execution of the command that repairs.
type repair struct {
	number   int
	pid      int // 0 once it has been waited for
	status   unix.WaitStatus
	pidfd    int // -1 if the kernel has none
	stderr   int // read end of its standard error; -1 at its end
	pair     int // our end of the socket for files; -1 at its end
	said     []byte
	deadline time.Time
	killed   bool

	before mark
}

// start starts the command. There is a result even with an error.
func (k *keeper) start(now time.Time) (*repair, error) {
	r := &repair{number: k.runs, pidfd: -1, stderr: -1, pair: -1, deadline: now.Add(runTime), before: k.devLog()}
	if err := r.start(k); err != nil {
		r.close()
		return r, fmt.Errorf("run %s: %w", k.command[0], err)
	}
	for _, fd := range []int{r.pidfd, r.stderr, r.pair} {
		if fd >= 0 {
			event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
			if err := unix.EpollCtl(k.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
				r.finish(0)
				r.close()
				return r, fmt.Errorf("wait for events of descriptor %d: %w", fd, err)
			}
		}
	}
	return r, nil
}

// slash says which directory is this process's root.
func slash() fileID {
	var st unix.Stat_t
	if unix.Stat("/", &st) != nil {
		return fileID{}
	}
	return idOf(&st)
}

func (r *repair) start(k *keeper) error {
	// The runtime's pivot_root(2) gives a receiver that was started before it
	// the container's root: the path would name a file of the container's, which
	// is not to be executed with what privileges we were left.
	if slash() != k.slash {
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
	passed := []handover.Passed{{File: k.root, Name: handover.NameRoot}, {File: theirs, Name: handover.NameReceiver}}
	if k.init != nil {
		passed = append(passed, handover.Passed{File: k.init, Name: handover.NameInit})
	}
	files, env := handover.Inheritable(passed)
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
	}
	if k.confined() {
		env = append(env, "DEVLOG_CONFINED=1")
	}
	proc, err := os.StartProcess(k.command[0], k.command, &os.ProcAttr{
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
func (r *repair) wakeAt() time.Time {
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
func (r *repair) poll(now time.Time) (ended bool, problem error) {
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
func (r *repair) repaired() bool { return len(bytes.TrimSpace(r.said)) > 0 }

// wait waits for the process, or looks whether it has ended (unix.WNOHANG).
func (r *repair) wait(flags int) (ended bool) {
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
func (r *repair) finish(limit time.Duration) {
	if r.ends(limit) {
		return
	}
	r.kill()
	r.ends(killTime) // in vain if it hangs in the kernel; init will wait for it then
}

// ends waits for the end of the process for as long as limit.
func (r *repair) ends(limit time.Duration) bool {
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
func (r *repair) kill() {
	r.killed = true
	_ = unix.Kill(-r.pid, unix.SIGKILL) // it has not been waited for: the ID is its own
}

// readStderr keeps the first of what the command says and reads all of it.
func (r *repair) readStderr() {
	var buf [1 << 10]byte
	for r.stderr >= 0 {
		n, err := unix.Read(r.stderr, buf[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil || n <= 0:
			shut(&r.stderr)
		default:
			r.said = append(r.said, buf[:min(n, maxSaid-len(r.said))]...)
		}
	}
}

func (r *repair) close() {
	shut(&r.pidfd)
	shut(&r.stderr)
	shut(&r.pair)
}

// shut closes a descriptor that is open, which also leaves the epoll by that.
func shut(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}

// takeHandover takes over what the repair has sent.
func (r *receiver) takeHandover() {
	run := r.keeper.run
	for run.pair >= 0 {
		files, err := handover.ReceiveFiles(run.pair)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			r.say(syslog.Warning, "cannot take the repair over: "+err.Error())
		}
		if files == nil {
			shut(&run.pair)
			return
		}
		if err := r.adopt(files, run); err != nil {
			r.say(syslog.Warning, "cannot take the repair over: "+err.Error())
		}
	}
}

// adopt takes sockets and names to remove over from a repair.
func (r *receiver) adopt(files []handover.File, run *repair) error {
	var use []handover.File
	for _, f := range files {
		switch f.Name {
		case handover.NameReady, handover.NameInit, handover.NameRoot, handover.NameReceiver:
			_ = unix.Close(f.FD) // we have our own
		default:
			use = append(use, f)
		}
	}
	fresh, err := r.take(use)
	if err == nil && len(fresh.sockets) > 0 && r.batch == nil {
		err = r.openOutputs()
	}
	if err != nil {
		for _, f := range use {
			_ = unix.Close(f.FD)
		}
		return err
	}
	r.addPlaces(fresh)
	for _, s := range fresh.sockets {
		s.run = run.number
		if err := r.watchSocket(s); err != nil {
			_ = unix.Close(s.fd)
			return err
		}
		r.sockets = append(r.sockets, s)
	}
	// Those that handed over before may still have senders, unless too many.
	id, err := r.keeper.resolve()
	for i := 0; len(r.sockets) > maxSockets; i++ {
		if s := r.sockets[i]; err != nil || s.id != id || i+1 == len(r.sockets) {
			r.retire(s)
			i--
		}
	}
	return nil
}

// dropRun gives up the sockets of a repair that has failed after it handed them
// over: it took their names back.
func (r *receiver) dropRun(number int) {
	for i := len(r.sockets) - 1; i >= 0; i-- {
		s := r.sockets[i]
		if s.run != number || s.at == nil {
			continue
		}
		if id, _ := s.at.lookup(); id != s.id {
			r.retire(s)
		}
	}
}
