package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Receiver is a devlogd by itself, without root.
type Receiver struct {
	t            *testing.T
	cmd          *exec.Cmd
	done         chan struct{} // closed when it has ended
	Socket, File string
	errOut       *bytes.Buffer // to be read when it has ended
}

// NewReceiver starts a devlogd in dir that writes everything to a file.
func NewReceiver(t *testing.T, dir string) *Receiver {
	t.Helper()
	r := &Receiver{t: t, Socket: filepath.Join(dir, "log"), File: filepath.Join(dir, "messages"), done: make(chan struct{}), errOut: new(bytes.Buffer)}
	r.start([]string{"--listen", r.Socket, "--rule", "*.* " + r.File}, nil)
	return r
}

// runReceiver starts a devlogd that is to listen at socket.
func runReceiver(t *testing.T, socket string, args ...string) *Receiver {
	t.Helper()
	return runCommand(t, socket, exec.Command(filepath.Join(binDir, "devlogd"), args...))
}

func runCommand(t *testing.T, socket string, cmd *exec.Cmd) *Receiver {
	t.Helper()
	r := &Receiver{t: t, cmd: cmd, Socket: socket, done: make(chan struct{}), errOut: new(bytes.Buffer)}
	r.cmd.Stderr = r.errOut
	r.run()
	return r
}

// start starts the program, with this standard output.
func (r *Receiver) start(args []string, stdout *os.File) {
	r.t.Helper()
	r.cmd = exec.Command(filepath.Join(binDir, "devlogd"), args...)
	r.cmd.Stderr = r.errOut
	if stdout != nil {
		r.cmd.Stdout = stdout
	}
	r.run()
}

// run starts the command.
func (r *Receiver) run() {
	r.t.Helper()
	check(r.t, r.cmd.Start())
	go func() {
		defer close(r.done)
		_ = r.cmd.Wait() // its state is looked at where it matters
	}()
	r.t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // mostly it has ended already
		<-r.done
	})
}

// Connect waits until the receiver listens, and returns a client's socket.
func (r *Receiver) Connect() int {
	r.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(r.t, err)
	r.t.Cleanup(func() { check(r.t, unix.Close(fd)) })
	eventually(r.t, "devlogd listens", func() bool {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: r.Socket}) == nil
	})
	return fd
}

// Signal sends a signal.
func (r *Receiver) Signal(s syscall.Signal) {
	r.t.Helper()
	check(r.t, r.cmd.Process.Signal(s))
}

// Wait waits for the receiver's end.
func (r *Receiver) Wait() (code int, errOut string) {
	r.t.Helper()
	eventually(r.t, "devlogd has ended", func() bool {
		select {
		case <-r.done:
			return true
		default:
			return false
		}
	})
	return r.cmd.ProcessState.ExitCode(), r.errOut.String()
}

// send sends one datagram on a connected socket.
func send(fd int, text string) error {
	for {
		if _, err := unix.Write(fd, []byte(text)); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// What senders could hand over before a SIGTERM is written.
func TestReceiverDrains(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	var sent atomic.Int64
	var senders sync.WaitGroup
	for s := range 4 {
		fd := r.Connect()
		senders.Go(func() {
			for i := 0; ; i++ {
				if err := send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 s%d: message %d.", s, i)); err != nil {
					return // it has gone
				}
				sent.Add(1)
			}
		})
	}
	eventually(t, "3000 messages are sent", func() bool { return sent.Load() >= 3000 })
	r.Signal(syscall.SIGTERM)
	if code, errOut := r.Wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	senders.Wait()
	got, err := os.ReadFile(r.File)
	check(t, err)
	if n := int64(bytes.Count(got, []byte(": message "))); n != sent.Load() {
		t.Errorf("%d messages written of %d sent", n, sent.Load())
	}
	if _, err := os.Lstat(r.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// SIGHUP makes it write to a new file under the old name, losing nothing.
func TestReceiverReopens(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	fd := r.Connect()
	check(t, send(fd, "<13>Jan  1 00:00:00 t: before"))
	wantOnce(t, r.File, "before")
	check(t, os.Rename(r.File, r.File+".1"))
	r.Signal(syscall.SIGHUP)
	sent := 0
	eventually(t, "a new file", func() bool {
		check(t, send(fd, fmt.Sprintf("<13>Jan  1 00:00:00 t: after %d.", sent)))
		sent++
		_, err := os.Stat(r.File)
		return err == nil
	})
	check(t, send(fd, "<13>Jan  1 00:00:00 t: last"))
	wantOnce(t, r.File, "last")
	old, err := os.ReadFile(r.File + ".1")
	check(t, err)
	now, err := os.ReadFile(r.File)
	check(t, err)
	for i := range sent {
		if n := bytes.Count(append(old, now...), fmt.Appendf(nil, ": after %d.\n", i)); n != 1 {
			t.Errorf("message %d is written %d times", i, n)
		}
	}
}

// Each message is one line of printable text, whatever its bytes.
func TestReceiverEscapes(t *testing.T) {
	r := NewReceiver(t, t.TempDir())
	fd := r.Connect()
	messages := []string{
		"<13>Jan  1 00:00:00 t: begin-newline\nJan  1 00:00:00 t: end-newline",
		"<13>Jan  1 00:00:00 t: begin-nul\x00end-nul",
		"<13>Jan  1 00:00:00 t: begin-escape\x1b[2Jend-escape",
		"<13>Jan  1 00:00:00 t: begin-return\r\bend-return",
		"no priority: begin-none, end-none",
		"<13>", "", "\n", "\x00",
	}
	for _, m := range messages {
		check(t, send(fd, m))
	}
	check(t, send(fd, "<13>Jan  1 00:00:00 t: last"))
	wantOnce(t, r.File, "last")
	got, err := os.ReadFile(r.File)
	check(t, err)
	lines := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	for _, what := range []string{"newline", "nul", "escape", "return", "none"} {
		n := 0
		for _, line := range lines {
			if strings.Contains(line, "begin-"+what) && strings.Contains(line, "end-"+what) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: on %d lines, want 1", what, n)
		}
	}
	for _, line := range lines {
		if i := strings.IndexFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }); i >= 0 {
			t.Errorf("a control character at byte %d of %q", i, line)
		}
	}
	if code := r.cmd.ProcessState; code != nil {
		t.Errorf("devlogd has ended: %v", code)
	}
}

// A live socket is not taken over, a dead one is.
func TestReceiverDoesNotSteal(t *testing.T) {
	dir := t.TempDir()
	first := NewReceiver(t, dir)
	fd := first.Connect()
	second := NewReceiver(t, dir)
	code, errOut := second.Wait()
	if code == 0 || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, first.Socket) {
		t.Errorf("the second: exit code %d, %q", code, errOut)
	}
	check(t, send(fd, "<13>Jan  1 00:00:00 t: connected"))
	check(t, send(first.Connect(), "<13>Jan  1 00:00:00 t: new"))
	wantOnce(t, first.File, "connected", "new")
	first.Signal(syscall.SIGKILL)
	if code, _ := first.Wait(); code != -1 {
		t.Errorf("exit code after SIGKILL: %d", code)
	}
	third := NewReceiver(t, dir)
	check(t, send(third.Connect(), "<13>Jan  1 00:00:00 t: third"))
	wantOnce(t, third.File, "third")
}
