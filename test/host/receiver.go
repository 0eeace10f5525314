package host

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ConnectStream waits until the receiver listens, and returns a connection.
func ConnectStream(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	Check(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) }) // the test may have closed it
	Eventually(t, "devlogd listens", func() bool { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) == nil })
	return fd
}

// Receiver is a devlogd by itself, without root.
type Receiver struct {
	T            *testing.T
	Cmd          *exec.Cmd
	Done         chan struct{} // closed when it has ended
	Socket, File string
	ErrOut       *bytes.Buffer // readable after its end
}

// RunReceiver starts a devlogd that listens at socket.
func RunReceiver(t *testing.T, socket string, args ...string) *Receiver {
	t.Helper()
	return RunCommand(t, socket, exec.Command(filepath.Join(BinDir, "devlogd"), args...))
}

// RunCommand is RunReceiver with a command line.
func RunCommand(t *testing.T, socket string, cmd *exec.Cmd) *Receiver {
	t.Helper()
	r := &Receiver{T: t, Cmd: cmd, Socket: socket, Done: make(chan struct{}), ErrOut: new(bytes.Buffer)}
	r.Cmd.Stderr = r.ErrOut
	r.Run()
	return r
}

// Start starts the program, with this standard output.
func (r *Receiver) Start(args []string, stdout *os.File) {
	r.T.Helper()
	r.Cmd = exec.Command(filepath.Join(BinDir, "devlogd"), args...)
	r.Cmd.Stderr = r.ErrOut
	if stdout != nil {
		r.Cmd.Stdout = stdout
	}
	r.Run()
}

// Run starts the command.
func (r *Receiver) Run() {
	r.T.Helper()
	Check(r.T, r.Cmd.Start())
	go func() {
		defer close(r.Done)
		_ = r.Cmd.Wait() // Wait has the state
	}()
	r.T.Cleanup(func() {
		_ = r.Cmd.Process.Kill() // usually it has ended
		<-r.Done
	})
}

// Connect waits until the receiver listens, and returns a client's socket.
func (r *Receiver) Connect() int {
	r.T.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	Check(r.T, err)
	r.T.Cleanup(func() { Check(r.T, unix.Close(fd)) })
	Eventually(r.T, "devlogd listens", func() bool {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: r.Socket}) == nil
	})
	return fd
}

// Signal sends a signal.
func (r *Receiver) Signal(s syscall.Signal) {
	r.T.Helper()
	Check(r.T, r.Cmd.Process.Signal(s))
}

// Wait waits for the receiver's end.
func (r *Receiver) Wait() (code int, errOut string) {
	r.T.Helper()
	Eventually(r.T, "devlogd has ended", func() bool {
		select {
		case <-r.Done:
			return true
		default:
			return false
		}
	})
	return r.Cmd.ProcessState.ExitCode(), r.ErrOut.String()
}

// Send sends one datagram on a connected socket.
func Send(fd int, text string) error {
	for {
		if _, err := unix.Write(fd, []byte(text)); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// EndOn ends the receiver on a host, as a service manager does.
func (r *Receiver) EndOn(h *Host) {
	r.T.Helper()
	pids := h.Receivers()
	if len(pids) != 1 {
		r.T.Fatalf("receivers on the host: %v", pids)
	}
	h.Must("kill", "-TERM", strconv.Itoa(pids[0]))
	if code, errOut := r.Wait(); code != 0 {
		r.T.Errorf("exit code %d: %s", code, errOut)
	}
}

// WantLines checks that each text is the end of one line of the output.
func WantLines(t *testing.T, out string, texts ...string) {
	t.Helper()
	out = strings.ReplaceAll(out, "\r\n", "\n")
	for _, text := range texts {
		if n := strings.Count(out, ": "+text+"\n"); n != 1 {
			t.Errorf("the output holds %q %d times: %q", text, n, out)
		}
	}
}

// StartWithOutput starts the receiver with rules and returns its standard
// output.
func (r *Receiver) StartWithOutput(rules ...string) *os.File {
	r.T.Helper()
	args := []string{"--listen", r.Socket}
	for _, rule := range rules {
		args = append(args, "--rule", rule)
	}
	out, w, err := os.Pipe()
	Check(r.T, err)
	Check(r.T, out.SetReadDeadline(time.Now().Add(Deadline)))
	r.Start(args, w)
	Check(r.T, w.Close())
	return out
}

// BuildReceiver builds a devlogd with this version.
func BuildReceiver(t *testing.T, version string, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "devlogd")
	args := append([]string{"build", "-trimpath", "-ldflags", "-X devlog/internal/devlogd.Version=" + version, "-o", path}, more...)
	cmd := exec.Command("go", append(args, "devlog/cmd/devlogd")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}
