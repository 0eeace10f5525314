package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// ownDev gives a container its own /dev, as OCI runtimes do.
const ownDev = "mount -n -t tmpfs -o mode=755,size=64m dev dev; mknod -m 666 dev/null c 1 3"

// takeOver starts a daemon in the container that replaces the socket at the path. log is
// its file. kill kills it, which leaves its socket.
func takeOver(c *host.Cheap, path string) (log string, kill func()) {
	c.H.T.Helper()
	// It has another name, so devlog does not take it for a receiver.
	pid := strings.TrimSpace(c.Sh(fmt.Sprintf(`cp /opt/devlog/devlogd /run/other-syslogd
rm -rf %[1]s
/run/other-syslogd --listen %[1]s --rule '*.* -/run/theirs' </dev/null >/dev/null 2>&1 &
until [ -S %[1]s ]; do busybox usleep 1000; done
echo $!`, path)))
	return c.Path("/run/theirs"), func() {
		c.H.T.Helper()
		c.Sh("kill -9 " + pid)
	}
}

// In a container with a private /dev, a daemon takes /dev/log from the receiver, which yields.
// After the daemon was killed and left its socket, the receiver receives again, as often as
// that happens.
func TestOwnDaemonTakesDevLog(t *testing.T) {
	// takenFor is how long a daemon's end may stay unnoticed: the receiver waits for a
	// possible restart. A loaded machine needs more.
	const takenFor = 13 * time.Second
	for _, where := range []string{"socket", "link"} {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/inside %t", where, inside), func(t *testing.T) {
				t.Parallel() // it waits until a restart can be ruled out
				host.NeedContainers(t)
				h := host.NewHost(t)
				c := host.NewCheap(t, h, "c1", host.CheapOptions{Dev: ownDev})
				if r := c.Hook(inside, "repair"); r.Code != 0 || !strings.HasPrefix(r.Out, "repaired by symlink:") {
					t.Fatalf("repair: %+v", r)
				}
				receivers := h.Receivers()
				for round := range 2 {
					said := func(text string) {
						t.Helper()
						var got []byte
						if !host.WaitFor(func() (ok bool) {
							got, _ = os.ReadFile(c.Log(inside)) // a missing file counts as empty
							return strings.Count(string(got), text) == round+1
						}) {
							t.Fatalf("the receiver does not say %q in round %d:\n%s", text, round, got)
						}
					}
					c.WantSent(t, c.Log(inside), fmt.Sprintf("ours-%d", round))
					path := map[string]string{"socket": "/dev/log", "link": "/run/other"}[where]
					log, kill := takeOver(c, path)
					if where == "link" {
						c.Sh("ln -s /run/other /dev/log.new && mv -T /dev/log.new /dev/log")
					}
					said(": another daemon listens on " + path + " now; devlogd only watches /dev/log\n")
					c.WantSent(t, log, fmt.Sprintf("theirs-%d", round))
					kill()
					start := time.Now()
					said(": the other daemon stopped listening; receiving again\n")
					if took := time.Since(start); took > takenFor {
						t.Errorf("it was repaired after %v", took)
					}
				}
				c.WantSent(t, c.Log(inside), "last")
				host.WantNowhere(t, filepath.Dir(c.Log(inside)), ": theirs-0\n", ": theirs-1\n")
				if r := c.Hook(inside, "check"); r.Code != 0 {
					t.Errorf("check: %+v", r)
				}
				if now := h.Receivers(); !slices.Equal(now, receivers) {
					t.Errorf("the receivers were %v and are %v", receivers, now)
				}
				c.Stop()
				host.ExpectReceiversEnd(t, h)
			})
		}
	}
}
