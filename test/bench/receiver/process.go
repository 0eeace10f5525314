package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is the longest wait for another program.
const patience = 30 * time.Second

// receiver is a peer that runs.
type receiver struct {
	socket, log string
	cmd         *exec.Cmd
	said        bytes.Buffer
	ended       chan struct{} // is closed then
}

// files returns the names of a peer's socket and log in a directory.
func files(dir string) (socket, log string) { return dir + "/socket", dir + "/log" }

// prepare makes an empty directory for a peer and returns its command line.
func (p *peer) prepare(dir string) ([]string, error) {
	socket, log := files(dir)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		return nil, err
	}
	if p.config != nil {
		if err := os.WriteFile(dir+"/conf", []byte(p.config(dir, socket, log)), 0o644); err != nil {
			return nil, err
		}
	}
	if p.devLog {
		if err := os.Remove("/dev/log"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := os.Symlink(socket, "/dev/log"); err != nil {
			return nil, err
		}
	}
	return p.args(dir, socket, log), nil
}

// start starts a peer with its files in a directory and waits until it receives.
func (p *peer) start(dir string) (*receiver, error) {
	args, err := p.prepare(dir)
	if err != nil {
		return nil, err
	}
	r := &receiver{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	r.socket, r.log = files(dir)
	r.cmd.Env = append(os.Environ(), p.env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.said, &r.said
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = r.cmd.Wait() // cmd.ProcessState has the result
		close(r.ended)
	}()
	for begin := time.Now(); !takes(r.socket); time.Sleep(time.Millisecond) {
		select {
		case <-r.ended:
			return nil, fmt.Errorf("%s ended: %s\n%s", r.cmd, r.cmd.ProcessState, &r.said)
		default:
		}
		if time.Since(begin) > patience {
			r.stop()
			return nil, fmt.Errorf("%s: nobody listens at %s after %v", r.cmd, r.socket, patience)
		}
	}
	return r, nil
}

// takes returns whether somebody listens at the socket.
func takes(socket string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: socket}) == nil
}

// stop ends the receiver, and ignores its exit code.
func (r *receiver) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	kill := time.AfterFunc(5*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer kill.Stop()
	<-r.ended
}

func (r *receiver) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(r.cmd.Process.Pid), name)
}

// cpu returns the processor time of all threads of the receiver, including ended ones
// (clock_getcpuclockid(3)).
func (r *receiver) cpu() (time.Duration, error) {
	const wholeProcess = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^r.cmd.Process.Pid<<3|wholeProcess), &t); err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", r.cmd, err)
	}
	return time.Duration(t.Nano()), nil
}

// memory is from /proc/PID/smaps_rollup, in kB.
type memory struct{ RSS, PSS, Private float64 }

func (r *receiver) memory() (m memory, err error) {
	text, err := os.ReadFile(r.proc("smaps_rollup"))
	if err != nil {
		return m, err
	}
	for name, value := range map[string]*float64{"Rss:": &m.RSS, "Pss:": &m.PSS, "Pss_Anon:": &m.Private} {
		if *value, err = field(text, name); err != nil {
			return m, fmt.Errorf("%s: %w", r.proc("smaps_rollup"), err)
		}
	}
	return m, nil
}

// wakeups returns how often the receiver's threads got a processor.
func (r *receiver) wakeups() (sum float64, err error) {
	tasks, err := filepath.Glob(r.proc("task/*/status"))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, name := range []string{"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"} {
			n, err := field(text, name)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", task, err)
			}
			sum += n
		}
	}
	return sum, nil
}

// field returns the number after a name at the beginning of a line.
func field(text []byte, name string) (float64, error) {
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, fmt.Errorf("no %s", name)
}
