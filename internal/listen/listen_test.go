package listen

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// boundAt binds a socket of somebody else's at path.
func boundAt(t *testing.T, path string) int {
	t.Helper()
	fd, err := newSocket(unix.SOCK_DGRAM)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// endListener closes a socket but keeps its number in use until the test's end: otherwise the
// test would close another file.
func endListener(t *testing.T, fd int) {
	t.Helper()
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Dup3(null, fd, unix.O_CLOEXEC), unix.Close(null)); err != nil {
		t.Fatal(err)
	}
}

// sendTo sends a message to the socket at path.
func sendTo(t *testing.T, path string) {
	t.Helper()
	fd, err := newSocket(unix.SOCK_DGRAM)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
}

// A daemon that binds after the look is not robbed of its name.
func TestListenRace(t *testing.T) {
	for name, wasStale := range map[string]bool{"absent": false, "stale": true} {
		path := filepath.Join(t.TempDir(), "log")
		if wasStale {
			endListener(t, boundAt(t, path))
		}
		old, err := findStale(path)
		if err != nil || (old != nil) != wasStale {
			t.Fatalf("%s: %v, %v", name, old, err)
		}
		_ = os.Remove(path)
		theirs := boundAt(t, path)
		s := &socket{path: path}
		if s.fd, err = newSocket(unix.SOCK_DGRAM); err != nil {
			t.Fatal(err)
		}
		if err := s.bind(old); !errors.Is(err, errLive) {
			t.Errorf("%s: %v", name, err)
		}
		_ = unix.Close(s.fd)
		sendTo(t, path)
		if n, err := unix.Read(theirs, make([]byte, 8)); err != nil || n != 1 {
			t.Errorf("%s: the other's socket: %d bytes, %v", name, n, err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
			t.Errorf("%s: left are %v, %v", name, left, err)
		}
		if old != nil {
			_ = unix.Close(old.handle)
		}
	}
}

// A stale socket that disappears before it is replaced is not an error, and neither is the
// longest possible path.
func TestListenStaleGoes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, strings.Repeat("d", maxPath-len(dir)-3), "l")
	if len(path) != maxPath {
		t.Skip("the temporary directory's path is too long")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, remove := range []bool{false, true} {
		endListener(t, boundAt(t, path))
		old, err := findStale(path)
		if err != nil || old == nil {
			t.Fatalf("%v, %v", old, err)
		}
		if remove {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		s := &socket{path: path}
		if s.fd, err = newSocket(unix.SOCK_DGRAM); err != nil {
			t.Fatal(err)
		}
		if err := s.bind(old); err != nil {
			t.Errorf("removed %t: %v", remove, err)
		}
		sendTo(t, path)
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
			t.Errorf("left are %v, %v", left, err)
		}
		_ = unix.Close(s.fd)
		_ = unix.Close(old.handle)
	}
}
