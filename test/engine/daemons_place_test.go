package engine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// place is where a program logs: the host, or one of its containers.
type place struct {
	name string
	send func(text string) host.Result
	log  string                   // of the one that should receive it, as the test sees it
	path func(name string) string // its file name as the test sees it
}

func hostPlace(h *host.Host, log string) place {
	return place{"host", func(text string) host.Result { return h.Do(host.Client, "t", "13", text) }, log, h.Path}
}

func lxcPlace(t *testing.T, c *host.LXC, log string) place {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(c.H.Must(c.Args("lxc-info", "-pH")...).Out))
	host.Check(t, err)
	return place{c.Name, func(text string) host.Result { return c.Attach("/bin/client", "t", "13", text) }, log, ofProcess(c.H, pid)}
}

func ociPlace(c *host.OCI) place {
	_, pid := c.State()
	return place{c.ID, func(text string) host.Result { return c.Exec("client", "t", "13", text) }, c.Log(), ofProcess(c.H, pid)}
}

// ofProcess returns names of files below the root of a process of the host.
func ofProcess(h *host.Host, pid int) func(name string) string {
	return func(name string) string { return filepath.Join(h.Path(fmt.Sprintf("/proc/%d/root", pid)), name) }
}

// connects returns whether somebody listens where /dev/log points. It follows links itself: the
// kernel would resolve them from the test's own root.
func (p place) connects() bool {
	name := "/dev/log"
	for range 5 {
		to, err := os.Readlink(p.path(name))
		if err != nil {
			return host.CanConnect(p.path(name))
		}
		name = to
	}
	return false
}

// holds returns whether the text is a message in the place's log.
func (p place) holds(text string) bool {
	got, err := os.ReadFile(p.log)
	return err == nil && bytes.Contains(got, []byte(": "+text+"\n"))
}

// soonOwn waits until each place's messages are in its own log, and returns how long that took.
// Earlier messages may go elsewhere, later ones must not.
func soonOwn(t *testing.T, places []place, text string) time.Duration {
	t.Helper()
	start := time.Now()
	for _, p := range places {
		n := 0
		if !host.WaitFor(func() bool {
			early := fmt.Sprintf("early-%d-%s-%s", n, text, p.name)
			n++
			if !p.connects() || p.send(early).Code != 0 {
				return false
			}
			// If it is written, it is within milliseconds.
			return host.WaitAtMost(300*time.Millisecond, func() bool { return p.holds(early) })
		}) {
			to, err := os.Readlink(p.path("/dev/log"))
			t.Fatalf("%s: %s does not log to its own; /dev/log is a link to %q, %v", text, p.name, to, err)
		}
	}
	took := time.Since(start)
	expectOwnLogs(t, places, text)
	return took
}

// expectOwnLogs logs in each place, and expects the message once, in that place's log only.
func expectOwnLogs(t *testing.T, places []place, text string) {
	t.Helper()
	for _, p := range places {
		if r := p.send(text + "-" + p.name); r.Code != 0 {
			t.Fatalf("log in %s: %+v", p.name, r)
		}
	}
	for _, p := range places {
		host.WantOnce(t, p.log, text+"-"+p.name)
	}
	for _, p := range places {
		for _, other := range places {
			if other.name != p.name && p.holds(text+"-"+other.name) {
				t.Errorf("%s: the message of %s is in the log of %s", text, other.name, p.name)
			}
		}
	}
}
