// Package rootfstest makes directories that play a container's root and /dev in
// tests.
package rootfstest

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"devlog/internal/rootfs"
)

// Dir returns an empty directory and its path.
func Dir(t *testing.T) (*rootfs.Dir, string) {
	t.Helper()
	path := t.TempDir()
	return Open(t, path, "/"), path
}

// Open opens the directory at that path inside root.
func Open(t *testing.T, root, path string) *rootfs.Dir {
	t.Helper()
	r, err := rootfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, err := r.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// Root makes a container's root directory, with an empty /dev and /run.
func Root(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, d := range []string{"dev", "run"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Listen binds a datagram socket at path.
func Listen(t *testing.T, path string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
}

// ID returns the identity of the name, which must exist.
func ID(t *testing.T, d *rootfs.Dir, name string) rootfs.ID {
	t.Helper()
	st, err := d.Lstat(name)
	if err != nil || st.Kind == rootfs.Absent {
		t.Fatalf("%s: %+v, %v", name, st, err)
	}
	return st.ID
}
