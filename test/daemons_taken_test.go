package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownDev gives a container a /dev of its own.
const ownDev = "mount -n -t tmpfs -o mode=755 dev dev; mknod -m 666 dev/null c 1 3"

// takeOver binds a socket in the place of the name, whatever that was, as a
// container's own daemon does; end leaves it there, as a daemon that is killed.
func takeOver(t *testing.T, path string) (receive func() string, end func()) {
	t.Helper()
	check(t, os.RemoveAll(path))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { f.Close() })
	check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	check(t, os.Chmod(path, 0o666))
	return func() string { return receiveFrom(t, fd, path) }, func() { check(t, f.Close()) }
}

// A container with a /dev of its own starts its own daemon, which takes /dev/log
// from our receiver: that steps aside, and when the daemon was killed, its socket
// left, it receives again, as often as that happens.
func TestOwnDaemonTakesDevLog(t *testing.T) {
	// takenFor is how long a daemon's end may stay unnoticed, with some more for
	// a loaded machine: a restart is waited for.
	const takenFor = 13 * time.Second
	for _, where := range []string{"socket", "link"} {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/inside %t", where, inside), func(t *testing.T) {
				t.Parallel() // it waits for the end of what could be a restart
				needContainers(t)
				h := NewHost(t)
				c := NewCheap(t, h, "c1", cheapOptions{dev: ownDev})
				if r := c.Hook(inside, "repair"); r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by symlink:") {
					t.Fatalf("repair: %+v", r)
				}
				receivers := h.Receivers()
				for round := range 2 {
					said := func(text string) {
						t.Helper()
						eventually(t, "the receiver says: "+text, func() bool {
							got, err := os.ReadFile(c.Log(inside))
							return err == nil && strings.Count(string(got), text) == round+1
						})
					}
					c.wantSent(t, c.Log(inside), fmt.Sprintf("ours-%d", round))
					path, name := c.Path("/dev/log"), "/dev/log"
					if where == "link" {
						path, name = c.Path("/run/other"), "/run/other"
					}
					receive, end := takeOver(t, path)
					if where == "link" {
						c.Sh("ln -s /run/other /dev/log.new && mv -T /dev/log.new /dev/log")
					}
					said(": another daemon listens on " + name + " now; this receiver only keeps the repair\n")
					text := fmt.Sprintf("theirs-%d", round)
					c.Sh("client t 13 " + text)
					if got := receive(); !strings.HasSuffix(got, ": "+text) {
						t.Errorf("the daemon received %q, want %q", got, text)
					}
					end()
					start := time.Now()
					said(": the other daemon listens no more; this receiver receives again\n")
					if took := time.Since(start); took > takenFor {
						t.Errorf("it was repaired after %v", took)
					}
				}
				c.wantSent(t, c.Log(inside), "last")
				wantNowhere(t, filepath.Dir(c.Log(inside)), ": theirs-")
				if r := c.Hook(inside, "check"); r.Code != 0 {
					t.Errorf("check: %+v", r)
				}
				if now := h.Receivers(); !slices.Equal(now, receivers) {
					t.Errorf("the receivers were %v and are %v", receivers, now)
				}
				c.Stop()
				expectReceiversEnd(t, h)
			})
		}
	}
}
