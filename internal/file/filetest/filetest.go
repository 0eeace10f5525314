// Package filetest has what tests ask about open files.
package filetest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Open returns how many files this process has open, with the one that it needs to count them.
func Open(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Dir returns a handle (O_PATH) on the directory until the test ends.
func Dir(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}
