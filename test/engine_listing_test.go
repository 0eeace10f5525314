package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// No hook lists a /dev that it shares, where others can make as many names as they
// like, nor is it in their way when all the temporary names are taken.
func TestEngineListsNoSharedDev(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	c := NewCheap(t, h, "c1", cheapOptions{})
	for i := range 4 {
		check(t, os.MkdirAll(h.Path(fmt.Sprintf("/dev/.devlog-tmp-%d/x", i)), 0o755))
	}
	lists := watchListing(t, h.Path("/dev"))
	_, err := os.ReadDir(h.Path("/dev"))
	check(t, err)
	if !lists() {
		t.Fatal("a listing is not seen")
	}
	before := snap(t, h.Path("/"), "/dev")
	for _, inside := range []bool{false, true} {
		for what, make := range map[string]func(*testing.T, *Host){"nothing": nothing, "stale": staleSocket, "live": liveSocket, "directory": directory} {
			make(t, h)
			lists() // of the test's own
			for _, args := range [][]string{{"check"}, {"repair", "--no-heal"}, {"repair", "--no-heal"}, {"undo"}} {
				if r := c.Hook(inside, args...); r.Code != 0 && args[0] != "check" || lists() {
					t.Errorf("%s, %q lists /dev, or fails: %+v", what, args, r)
				}
			}
			for _, args := range [][]string{{"check", "--host"}, {"repair", "--host"}, {"undo", "--host"}} {
				if r := h.Do(append([]string{hookOn()}, args...)...); r.Code != 0 && args[0] != "check" || lists() {
					t.Errorf("%s, %q lists /dev, or fails: %+v", what, args, r)
				}
			}
			check(t, os.RemoveAll(h.Path("/dev/log")))
			check(t, os.RemoveAll(h.Path(aside)))
			expectSame(t, "/dev after "+what, before, snap(t, h.Path("/"), "/dev"))
		}
	}
}

// watchListing returns a function that says whether somebody has read the names of
// the directory since its last call (inotify(7): IN_ACCESS of the directory itself).
func watchListing(t *testing.T, dir string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	check(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_ACCESS)
	check(t, err)
	return func() (listed bool) {
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				return listed
			}
			check(t, err)
			for at := 0; at < n; {
				mask, size := binary.NativeEndian.Uint32(buf[at+4:]), int(binary.NativeEndian.Uint32(buf[at+12:]))
				listed = listed || mask&unix.IN_ISDIR != 0 && size == 0
				at += unix.SizeofInotifyEvent + size
			}
		}
	}
}
