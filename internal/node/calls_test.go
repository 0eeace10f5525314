package node

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The test program plays two processes: the service in a PID namespace of its own, where IDs of
// processes can be chosen, and a caller that connects its descriptor 3 to the path.
const (
	serviceVariable = "NODE_TEST_SERVICE"
	callerVariable  = "NODE_TEST_CALLER"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(callerVariable); path != "" {
		if err := unix.Connect(3, &unix.SockaddrUnix{Name: path}); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A caller that has ended is refused: its process ID, by which its PID namespace is found, may be that of
// another process by then.
func TestMayCallReusedID(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	if os.Getenv(serviceVariable) == "" {
		cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", os.Args[0], "-test.run=^TestMayCallReusedID$")
		cmd.Env = append(os.Environ(), serviceVariable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "node")
	listener, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(conn), "connection") // it stays open when the caller has ended
	defer file.Close()
	caller := exec.Command(os.Args[0])
	caller.Env, caller.ExtraFiles = append(os.Environ(), callerVariable+"="+path), []*os.File{file}
	if err := caller.Run(); err != nil {
		t.Fatal(err)
	}
	taken, _, err := unix.Accept(listener)
	if err != nil {
		t.Fatal(err)
	}
	if fd, err := unix.GetsockoptInt(taken, unix.SOL_SOCKET, unix.SO_PEERPIDFD); errors.Is(err, unix.ENOPROTOOPT) {
		t.Skip("before Linux 6.5")
	} else if err == nil {
		_ = unix.Close(fd)
	}
	for before := strconv.Itoa(caller.Process.Pid - 1); ; {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(before), 0); err != nil {
			t.Fatal(err)
		}
		other := exec.Command("sleep", "100")
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
		if other.Process.Pid == caller.Process.Pid {
			break
		}
	}
	n := &Node{}
	if n.pidns, err = pidNamespace("self"); err != nil {
		t.Fatal(err)
	}
	if err := n.mayCall(taken); !errors.Is(err, unix.ESRCH) {
		t.Errorf("a caller that has ended: %v", err)
	}
}
