package engine

import (
	"bytes"
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

	"devlog/test/host"
)

// startMany starts containers that share the host's /dev, and repairs each.
func startMany(t *testing.T, h *host.Host, n int) []*host.Cheap {
	t.Helper()
	cs := make([]*host.Cheap, n)
	for i := range cs {
		cs[i] = host.NewCheap(t, h, fmt.Sprintf("n%d", i), host.CheapOptions{})
		if r := cs[i].Hook(true, "repair"); r.Code != 0 {
			t.Fatalf("repair in %s: %+v", cs[i].Name, r)
		}
	}
	return cs
}

// converge waits until each container has its own socket again, and returns how
// long that took.
func converge(t *testing.T, cs []*host.Cheap, after string) time.Duration {
	t.Helper()
	start := time.Now()
	without := func() (names []string) {
		for _, c := range cs {
			if !c.OwnSocket() {
				names = append(names, c.Name)
			}
		}
		return names
	}
	if !host.WaitFor(func() bool { return len(without()) == 0 }) {
		to, err := os.Readlink(cs[0].Path("/dev/log"))
		t.Fatalf("after %s these have no socket of their own: %q; /dev/log is a link to %q, %v", after, without(), to, err)
	}
	return time.Since(start)
}

// expectOwn logs in each container, and expects the message in that container's log only.
func expectOwn(t *testing.T, h *host.Host, cs []*host.Cheap, text string) {
	t.Helper()
	for _, c := range cs {
		c.Sh("client t 13 " + text + "-" + c.Name)
	}
	for i, c := range cs {
		host.WantOnce(t, c.Log(true), text+"-"+c.Name)
		host.WantNowhere(t, c.Path("/var/log"), ": "+text+"-"+cs[(i+1)%len(cs)].Name+"\n")
	}
	host.WantNowhere(t, h.Path("/var/log"), text)
}

// fakeDaemon plays the socket of a host's syslog daemon.
type fakeDaemon struct {
	t  *testing.T
	h  *host.Host
	fd int
}

// newFakeDaemon starts one that ends with the test.
func newFakeDaemon(t *testing.T, h *host.Host) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{t, h, -1}
	d.restart()
	t.Cleanup(func() { host.Check(t, unix.Close(d.fd)) })
	return d
}

// restart does what other programs see of a daemon's restart.
func (d *fakeDaemon) restart() {
	d.t.Helper()
	if d.fd >= 0 {
		host.Check(d.t, unix.Close(d.fd))
	}
	var err error
	d.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	host.Check(d.t, err)
	// Between the two a repair may put its link there.
	host.Eventually(d.t, "the host's daemon listens", func() bool {
		_ = os.Remove(d.h.Path("/dev/log"))
		return unix.Bind(d.fd, &unix.SockaddrUnix{Name: d.h.Path("/dev/log")}) == nil
	})
}

// want logs on the host until the daemon has received a message: one that is sent
// while /dev/log is being replaced may be lost.
func (d *fakeDaemon) want(text string) {
	d.t.Helper()
	buf := make([]byte, 1<<10)
	host.Eventually(d.t, "the host's daemon receives "+text, func() bool {
		d.h.Must(host.Client, "t", "13", text)
		n, _, err := unix.Recvfrom(d.fd, buf, 0)
		return err == nil && strings.HasSuffix(string(buf[:n]), ": "+text)
	})
}

// Fifty receivers share one /dev, whose /dev/log is replaced again and again. Each time all of them
// and the host get their messages again. Where each has its own mount to repair, they wait longer
// and longer after the first times.
func TestManyReceivers(t *testing.T) {
	for _, prepared := range []bool{false, true} {
		t.Run(map[bool]string{false: "unprepared", true: "prepared"}[prepared], func(t *testing.T) {
			t.Parallel() // most of the time it waits
			host.NeedContainers(t)
			h := host.NewHost(t)
			var d *fakeDaemon
			ways, n := []string{"rm", "stale socket"}, 6
			if prepared {
				n = 40
				d = newFakeDaemon(t, h)
				// With --force, because the fake host does not see this test, which is the daemon.
				h.Must(host.HookOn(), "repair", "--host", "--force")
				ways = append(ways, "restart", "rm", "restart")
			}
			cs := startMany(t, h, 50)
			var worst time.Duration
			for i := range n {
				way := ways[i%len(ways)]
				if i%20 == 19 || i == n-1 { // every container has to repair
					way = "dangling link"
				}
				switch way {
				case "rm":
					host.RemoveLog(t, h)
				case "stale socket":
					host.StaleLog(t, h)
				case "dangling link":
					host.LinkLog(t, h, fmt.Sprintf("/run/elsewhere%d/log", i))
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

// A program replaces /dev/log as fast as it can. The receivers repair it now and then,
// report that once, use little processor time, and have repaired it soon after the
// program's end.
func TestHostileReplacement(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	cs := startMany(t, h, 10)
	receivers := h.Receivers()
	replaced := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); replaced++ {
		host.LinkLog(t, h, "/dev/nosuch")
		if replaced%100 == 0 {
			host.RemoveLog(t, h)
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
		if n := len(repairsSaid(t, c)); n > 2 { // a second one if this took a minute
			t.Errorf("%s said %d times that /dev/log was replaced", c.Name, n)
		}
		if r := c.Hook(true, "undo"); r.Code != 0 { // at its end it reports how often
			t.Fatalf("undo in %s: %+v", c.Name, r)
		}
		counts := repairsSaid(t, c)
		// Pauses of 100 ms, 200 ms, and so on: seven repairs in 10 s.
		if n := slices.Max(append(counts, 0)); n > 15 {
			t.Errorf("%s repaired %d times", c.Name, n)
		}
	}
}

var repairSaid = regexp.MustCompile(`/dev/log was replaced; repaired(?: \((\d+) times)?`)

// repairsSaid returns the counts of repairs that a container's receiver has reported.
func repairsSaid(t *testing.T, c *host.Cheap) (counts []int) {
	t.Helper()
	log, err := os.ReadFile(c.Log(true))
	host.Check(t, err)
	for _, m := range repairSaid.FindAllSubmatch(log, -1) {
		n := 1
		if len(m[1]) > 0 {
			n, err = strconv.Atoi(string(m[1]))
			host.Check(t, err)
		}
		counts = append(counts, n)
	}
	return counts
}

// cpuTime returns the processor time of a process and of the children that it has waited
// for.
func cpuTime(t *testing.T, h *host.Host, pid int) (own, children time.Duration) {
	t.Helper()
	stat, err := os.ReadFile(h.Path(filepath.Join("/proc", strconv.Itoa(pid), "stat")))
	host.Check(t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	// proc_pid_stat(5): fields 14 to 17, in ticks of 10 ms.
	ticks := make([]time.Duration, 4)
	for i := range ticks {
		n, err := strconv.Atoi(fields[11+i])
		host.Check(t, err)
		ticks[i] = time.Duration(n) * time.Second / 100
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3]
}
