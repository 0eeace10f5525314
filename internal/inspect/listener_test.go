package inspect

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/rootfs"
	"devlog/internal/rootfs/rootfstest"
	"devlog/internal/target"
)

func fileID(t *testing.T, path string) rootfs.ID {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return file.IDOf(&st)
}

// A socket is found by its name's identity, also after a rename.
func TestListenerHere(t *testing.T) {
	dir := t.TempDir()
	at, name := filepath.Join(dir, "bound"), filepath.Join(dir, "log")
	rootfstest.Listen(t, at)
	if err := os.Rename(at, name); err != nil {
		t.Fatal(err)
	}
	if !listenerHere((&target.Target{}), fileID(t, name)) {
		t.Error("this process's own socket is not seen")
	}
	stale := filepath.Join(dir, "stale")
	if err := unix.Mknod(stale, unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	if listenerHere((&target.Target{}), fileID(t, stale)) {
		t.Error("somebody is seen behind a stale socket")
	}
	if _, err := socketAt(fileID(t, stale)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("socketAt of a stale socket: %v", err)
	}
}

// Of a stream socket the listening one is found, not a connection with the same name.
func TestListenerHereStream(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 6 { // the first three are accepted, the others wait
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i < 3 {
			a, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			a.Close() // its inode number is gone before anybody looks for it
		}
	}
	if !listenerHere((&target.Target{}), fileID(t, name)) {
		t.Error("the listener is not seen")
	}
}

// Whatever the kernel writes, the search ends.
func FuzzFindSocket(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Add([]byte{40, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 10, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 1, 0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if inode, done := findSocket(data, rootfs.ID{Dev: 1, Ino: 3}); inode != 0 && done {
			t.Error("found, and said to be the end")
		}
	})
}
