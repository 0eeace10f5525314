package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the harness promises to the tests, without the programs under test.

// Listen binds a datagram socket and returns a reader of what it receives.
func Listen(t *testing.T, path string) (receive func() string) {
	t.Helper()
	_, receive = Bind(t, path)
	return receive
}

// Bind is Listen, and also returns the socket.
func Bind(t *testing.T, path string) (socket *os.File, receive func() string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	Check(t, err)
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { Check(t, f.Close()) })
	Check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	Check(t, os.Chmod(path, 0o666))
	return f, func() string {
		t.Helper()
		buf := make([]byte, 1<<16)
		var n int
		Eventually(t, "a message at "+path, func() bool {
			var err error
			n, _, err = unix.Recvfrom(fd, buf, 0)
			return err == nil
		})
		return string(buf[:n])
	}
}

// listenerArg as an argument makes the test binary hold what it inherits until
// its standard input ends.
const listenerArg = "devlog-test-listener"

// ListenOn is Listen at the host's path for a daemon of the host: a process there
// has the socket open too.
func ListenOn(t *testing.T, h *Host, path string) (receive func() string) {
	t.Helper()
	socket, receive := Bind(t, h.Path(path))
	self, err := os.Executable()
	Check(t, err)
	cmd := h.Command(context.Background(), self, listenerArg) // it must outlive the test's context: killed, it would delay the host's end
	cmd.ExtraFiles = []*os.File{socket}
	in, err := cmd.StdinPipe()
	Check(t, err)
	out, err := cmd.StdoutPipe()
	Check(t, err)
	Check(t, cmd.Start())
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of the listener: %v", err)
		}
	})
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatalf("start of the listener: %v", err)
	}
	return receive
}

// holdListener is the process of ListenOn.
func holdListener() error {
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// WantByName waits until the link with that name leads to the logs of the container with
// that ID; without an ID, until there is no such link.
func WantByName(t *testing.T, h *Host, name, id string) {
	t.Helper()
	Eventually(t, "the link "+name+" leads to "+id, func() bool {
		to, err := os.Readlink(h.Path("/var/log/devlog/by-name/" + name))
		return id == "" && os.IsNotExist(err) || id != "" && err == nil && to == "../"+id
	})
}

// QueueFile has the number of datagrams that a socket queues.
const QueueFile = "/proc/sys/net/unix/max_dgram_qlen"

// Queued stops the container's receiver and counts the messages that its socket then
// queues.
func Queued(t *testing.T, h *Host, rootfs string) int {
	t.Helper()
	pids := h.Receivers()
	if len(pids) != 1 {
		t.Fatalf("receivers: %v, want one", pids)
	}
	pid := strconv.Itoa(pids[0])
	h.Must("kill", "-STOP", pid)
	defer h.Must("kill", "-CONT", pid)
	dir, err := os.Open(filepath.Join(rootfs, "run/devlog"))
	Check(t, err)
	defer dir.Close()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	Check(t, err)
	defer unix.Close(s)
	Check(t, unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20)) // the queue must be full before the sender's buffer
	// The path itself may be too long for a socket.
	Check(t, unix.Connect(s, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/log"}))
	Eventually(t, "the receiver has stopped", func() bool {
		return strings.Contains(h.Must("cat", "/proc/"+pid+"/stat").Out, ") T ")
	})
	for n := 0; ; n++ {
		err := unix.Send(s, []byte("<14>test: queued "+strconv.Itoa(n+1)+"."), 0)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		Check(t, err)
	}
}

// ExpectQueue compares the number of queued messages with the setting of a
// network namespace: one more waits at the sender's side.
func ExpectQueue(t *testing.T, got, want int) {
	t.Helper()
	if got < want || got > want+1 {
		t.Errorf("the socket takes %d messages, want %d", got, want)
	}
}

// CatcherArg as an argument makes the test binary listen at a path, receive a handle
// there, and print the file that it finds below it.
const CatcherArg = "devlog-test-catcher"

func catch(at, name string) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(s, &unix.SockaddrUnix{Name: at})
	}
	oob := make([]byte, unix.CmsgSpace(4))
	if err == nil {
		_, _, _, _, err = unix.Recvmsg(s, make([]byte, 1), oob, 0)
	}
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("%d messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	fd, err := unix.Openat(fds[0], name, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, os.NewFile(uintptr(fd), name))
	return err
}
