package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startMany starts containers that share the host's /dev, and repairs each.
func startMany(t *testing.T, h *Host, n int) []*Cheap {
	t.Helper()
	cs := make([]*Cheap, n)
	for i := range cs {
		cs[i] = NewCheap(t, h, fmt.Sprintf("n%d", i), cheapOptions{})
		if r := cs[i].Hook(true, "repair"); r.Code != 0 {
			t.Fatalf("repair in %s: %+v", cs[i].Name, r)
		}
	}
	return cs
}

// ownSocket says whether /dev/log in the container is a link to a socket at
// which somebody listens. It may be anywhere but in /dev, so it is its own.
func (c *Cheap) ownSocket() bool {
	to, err := os.Readlink(c.Path("/dev/log"))
	if err != nil || strings.HasPrefix(to, "/dev/") {
		return false
	}
	if next, err := os.Readlink(c.Path(to)); err == nil { // one that was adopted
		to = next
	}
	return canConnect(c.Path(to))
}

// converge waits until each container has its own socket again, and returns how
// long that took.
func converge(t *testing.T, cs []*Cheap, after string) time.Duration {
	t.Helper()
	start := time.Now()
	without := func() (names []string) {
		for _, c := range cs {
			if !c.ownSocket() {
				names = append(names, c.Name)
			}
		}
		return names
	}
	if !waitFor(func() bool { return len(without()) == 0 }) {
		to, err := os.Readlink(cs[0].Path("/dev/log"))
		t.Fatalf("after %s these have no socket of their own: %q; /dev/log is a link to %q, %v", after, without(), to, err)
	}
	return time.Since(start)
}

// expectOwn logs in each container, and sees that the message is in its own log
// and in nobody else's.
func expectOwn(t *testing.T, h *Host, cs []*Cheap, text string) {
	t.Helper()
	for _, c := range cs {
		c.Sh("client t 13 " + text + "-" + c.Name)
	}
	for i, c := range cs {
		wantOnce(t, c.Log(true), text+"-"+c.Name)
		wantNowhere(t, c.Path("/var/log"), ": "+text+"-"+cs[(i+1)%len(cs)].Name+"\n")
	}
	wantNowhere(t, h.Path("/var/log"), text)
}

// fakeDaemon is a syslog daemon of the host, as far as its socket is concerned.
type fakeDaemon struct {
	t  *testing.T
	h  *Host
	fd int
}

// newFakeDaemon starts one that ends with the test.
func newFakeDaemon(t *testing.T, h *Host) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{t, h, -1}
	d.restart()
	t.Cleanup(func() { check(t, unix.Close(d.fd)) })
	return d
}

// restart is what the restart of a daemon is for others.
func (d *fakeDaemon) restart() {
	d.t.Helper()
	if d.fd >= 0 {
		check(d.t, unix.Close(d.fd))
	}
	var err error
	d.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(d.t, err)
	// Between the two a repair may put its link there.
	eventually(d.t, "the host's daemon listens", func() bool {
		_ = os.Remove(d.h.Path("/dev/log"))
		return unix.Bind(d.fd, &unix.SockaddrUnix{Name: d.h.Path("/dev/log")}) == nil
	})
}

// want logs on the host until the daemon has received it: while /dev/log is
// being replaced a message may come too early.
func (d *fakeDaemon) want(text string) {
	d.t.Helper()
	buf := make([]byte, 1<<10)
	eventually(d.t, "the host's daemon receives "+text, func() bool {
		d.h.Must(client, "t", "13", text)
		n, _, err := unix.Recvfrom(d.fd, buf, 0)
		return err == nil && strings.HasSuffix(string(buf[:n]), ": "+text)
	})
}

// The ways in which others replace /dev/log.
func removeLog(t *testing.T, h *Host) {
	t.Helper()
	if err := os.Remove(h.Path("/dev/log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func linkLog(t *testing.T, h *Host, to string) {
	t.Helper()
	check(t, os.Symlink(to, h.Path("/dev/log.new")))
	check(t, os.Rename(h.Path("/dev/log.new"), h.Path("/dev/log")))
}

func staleLog(t *testing.T, h *Host) {
	t.Helper()
	name := h.Path("/dev/log.new")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	check(t, unix.Bind(fd, &unix.SockaddrUnix{Name: name}))
	check(t, unix.Close(fd))
	check(t, os.Rename(name, h.Path("/dev/log")))
}

// Fifty receivers share one /dev, whose /dev/log is replaced a hundred times,
// or forty: each time all of them get their messages again, and so does the
// host.
func TestManyReceivers(t *testing.T) {
	for _, prepared := range []bool{false, true} {
		t.Run(map[bool]string{false: "unprepared", true: "prepared"}[prepared], func(t *testing.T) {
			t.Parallel() // most of the time it waits
			needContainers(t)
			h := NewHost(t)
			var d *fakeDaemon
			ways, n := []string{"rm", "stale socket"}, 40
			if prepared {
				n = 100
				d = newFakeDaemon(t, h)
				// By force: the daemon is this test, which is not seen on the fake host.
				h.Must(hookOn(), "repair", "--host", "--force")
				ways = append(ways, "restart", "rm", "restart")
			}
			cs := startMany(t, h, 50)
			var worst time.Duration
			for i := range n {
				way := ways[i%len(ways)]
				if i%20 == 19 { // for which every container has to do something
					way = "dangling link"
				}
				switch way {
				case "rm":
					removeLog(t, h)
				case "stale socket":
					staleLog(t, h)
				case "dangling link":
					linkLog(t, h, fmt.Sprintf("/run/elsewhere%d/log", i))
				case "restart":
					d.restart()
				}
				worst = max(worst, converge(t, cs, fmt.Sprintf("replacement %d, %s,", i, way)))
				if d != nil {
					d.want(fmt.Sprintf("host-%d", i))
				}
			}
			t.Logf("the longest took %v", worst)
			expectOwn(t, h, cs, "end")
		})
	}
}

// Somebody replaces /dev/log as fast as he can: the receivers repair it now and
// then, say so once, need little time for all that, and have it right once he
// has ended.
func TestHostileReplacement(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	cs := startMany(t, h, 10)
	receivers := h.Receivers()
	replaced := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); replaced++ {
		linkLog(t, h, "/dev/nosuch")
		if replaced%100 == 0 {
			removeLog(t, h)
		}
	}
	t.Logf("replaced %d times; it took %v until it was right", replaced, converge(t, cs, "the last replacement"))
	if now := h.Receivers(); !slices.Equal(now, receivers) {
		t.Errorf("the receivers were %v and are %v", receivers, now)
	}
	for _, pid := range receivers {
		if own, repairs := cpuTime(t, h, pid); own > 2*time.Second || repairs > 5*time.Second {
			t.Errorf("receiver %d needed %v, and its repairs %v", pid, own, repairs)
		}
	}
	expectOwn(t, h, cs, "end")
	for _, c := range cs {
		if n := len(repairsSaid(t, c)); n > 2 { // one, and one more on a machine that took a minute for this
			t.Errorf("%s said %d times that /dev/log was replaced", c.Name, n)
		}
		if r := c.Hook(true, "undo"); r.Code != 0 { // its end makes it say how often
			t.Fatalf("undo in %s: %+v", c.Name, r)
		}
		counts := repairsSaid(t, c)
		// 100 ms, and then twice the last pause: seven in less than 10 s.
		if n := slices.Max(append(counts, 0)); n > 15 {
			t.Errorf("%s repaired %d times", c.Name, n)
		}
	}
}

var repairSaid = regexp.MustCompile(`/dev/log was replaced; repaired(?: \((\d+) times)?`)

// repairsSaid is what a container's receiver wrote about its repairs: how many
// there were until then.
func repairsSaid(t *testing.T, c *Cheap) (counts []int) {
	t.Helper()
	log, err := os.ReadFile(c.Log(true))
	check(t, err)
	for _, m := range repairSaid.FindAllSubmatch(log, -1) {
		n := 1
		if len(m[1]) > 0 {
			n, err = strconv.Atoi(string(m[1]))
			check(t, err)
		}
		counts = append(counts, n)
	}
	return counts
}

// cpuTime is how long a process ran, and those that it has waited for.
func cpuTime(t *testing.T, h *Host, pid int) (own, children time.Duration) {
	t.Helper()
	stat, err := os.ReadFile(h.Path(filepath.Join("/proc", strconv.Itoa(pid), "stat")))
	check(t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	// proc_pid_stat(5): fields 14 to 17, in ticks of which there are always 100.
	ticks := make([]time.Duration, 4)
	for i := range ticks {
		n, err := strconv.Atoi(fields[11+i])
		check(t, err)
		ticks[i] = time.Duration(n) * time.Second / 100
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3]
}
