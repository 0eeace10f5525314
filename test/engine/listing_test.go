package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// No hook lists a shared /dev, where others can create any number of names. It also works if
// all its temporary names exist.
func TestEngineListsNoSharedDev(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	c := host.NewCheap(t, h, "c1", host.CheapOptions{})
	for i := range 4 {
		host.Check(t, os.MkdirAll(h.Path(fmt.Sprintf("/dev/.devlog-tmp-%d/x", i)), 0o755))
	}
	lists := watchListing(t, h.Path("/dev"))
	_, err := os.ReadDir(h.Path("/dev"))
	host.Check(t, err)
	if !lists() {
		t.Fatal("a listing is not seen")
	}
	before := host.Snap(t, h.Path("/"), "/dev")
	for _, inside := range []bool{false, true} {
		for what, make := range map[string]func(*testing.T, *host.Host){"nothing": nothing, "stale": host.StaleSocket, "live": host.LiveSocket, "directory": directory} {
			make(t, h)
			lists() // the test itself has listed it
			for _, args := range [][]string{{"check"}, {"repair", "--no-auto-repair"}, {"repair", "--no-auto-repair"}, {"undo"}} {
				if r := c.Hook(inside, args...); r.Code != 0 && args[0] != "check" || lists() {
					t.Errorf("%s, %q lists /dev, or fails: %+v", what, args, r)
				}
			}
			for _, args := range [][]string{{"check", "--host"}, {"repair", "--host"}, {"undo", "--host"}} {
				if r := h.Do(append([]string{host.HookOn()}, args...)...); r.Code != 0 && args[0] != "check" || lists() {
					t.Errorf("%s, %q lists /dev, or fails: %+v", what, args, r)
				}
			}
			host.Check(t, os.RemoveAll(h.Path("/dev/log")))
			host.Check(t, os.RemoveAll(h.Path(host.Aside)))
			host.ExpectSame(t, "/dev after "+what, before, host.Snap(t, h.Path("/"), "/dev"))
		}
	}
}

// watchListing returns a function that says whether somebody has read the names of
// the directory since its last call (inotify(7): IN_ACCESS of the directory itself).
func watchListing(t *testing.T, dir string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	host.Check(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	_, err = unix.InotifyAddWatch(fd, dir, unix.IN_ACCESS)
	host.Check(t, err)
	return func() (listed bool) {
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				return listed
			}
			host.Check(t, err)
			for at := 0; at < n; {
				mask, size := binary.NativeEndian.Uint32(buf[at+4:]), int(binary.NativeEndian.Uint32(buf[at+12:]))
				listed = listed || mask&unix.IN_ISDIR != 0 && size == 0
				at += unix.SizeofInotifyEvent + size
			}
		}
	}
}
