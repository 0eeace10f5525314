package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A container's /dev/null is examined before it is opened: opening a device can already have
// effects.
func TestEnterRootNull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may change its root directory")
	}
	for name, place := range map[string]func(path string) error{
		"FIFO":           func(path string) error { return unix.Mkfifo(path, 0o666) },
		"file":           func(path string) error { return os.WriteFile(path, nil, 0o666) },
		"another device": func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
	} {
		root := t.TempDir()
		null := filepath.Join(root, "dev/null")
		if err := errors.Join(os.Mkdir(filepath.Dir(null), 0o755), place(null)); err != nil {
			t.Fatal(err)
		}
		watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err == nil {
			_, err = unix.InotifyAddWatch(watch, null, unix.IN_OPEN)
		}
		dir, derr := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err := errors.Join(err, derr); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and it ends with this root
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				done <- err
				return
			}
			done <- EnterRoot(dir)
		}()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "/dev/null is not the null device") {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := unix.Read(watch, make([]byte, 256)); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s: it was opened: %d, %v", name, n, err)
		}
		unix.Close(watch)
	}
}
