package notify

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is a service manager's socket.
func manager(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: name})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	t.Setenv(Variable, name)
	return fd
}

func TestSend(t *testing.T) {
	t.Setenv(Variable, "")
	if err := Send("READY=1"); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@devlog-test-" + filepath.Base(t.TempDir()) + time.Now().String()} {
		fd := manager(t, name)
		if err := Send("FDSTORE=1\nFDNAME=x", 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text, oob := make([]byte, 64), make([]byte, 64)
		n, oobn, _, _, err := unix.Recvmsg(fd, text, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil || string(text[:n]) != "FDSTORE=1\nFDNAME=x" || oobn == 0 {
			t.Errorf("%s: %q, %d, %v", name, text[:n], oobn, err)
		}
	}
	t.Setenv(Variable, "vsock:1")
	if err := Send("READY=1"); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("an address of another kind: %v", err)
	}
}
