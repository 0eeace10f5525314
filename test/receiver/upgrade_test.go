package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// metric waits until the metrics file says this.
func metric(t *testing.T, file, sample string) {
	t.Helper()
	var got []byte
	if !host.WaitFor(func() bool {
		got, _ = os.ReadFile(file) // a missing file counts as empty
		return bytes.Contains(got, []byte("\ndevlogd_"+sample+"\n"))
	}) {
		t.Fatalf("%s lacks %q; it holds:\n%s", file, sample, got)
	}
}

// A receiver that a hook started is upgraded, and keeps watching /dev/log, with the same
// process ID, limits and container.
func TestUpgradeOfHooksReceiver(t *testing.T) {
	host.NeedContainers(t, "runc")
	h := host.NewHost(t)
	version := host.BuildReceiver(t, "v2-of-the-test")
	h.Must("mkdir", "/run/bin")
	h.Must("cp", filepath.Join(host.BinDir, "devlogd"), "/run/bin/devlogd")
	before := host.Tree(h)
	c := host.NewOCI(t, h, "runc", "c1", host.ThreeClients("a")+host.Hold+host.ThreeClients("b")+"exec sleep 1000")
	c.Hook("createRuntime", "--receiver", "/run/bin/devlogd", "--metrics-file", "/run/{name}.prom", "--rate", "100000/s", "--overflow", "block", "--compress-repeats")
	c.Write().Create()
	c.Start()
	host.WantOnce(t, c.Log(), host.ThreeTexts("a")...)
	pid := h.Receivers()[0]
	line, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/cmdline", pid)))
	host.Check(t, err)
	if want := "\x00--rate\x00100000/s\x00--overflow\x00block\x00--compress-repeats\x00--metrics-file\x00/run/c1.prom\x00"; !bytes.Contains(line, []byte(want)) {
		t.Errorf("the receiver's command line is %q", line)
	}
	// As a package's update does it.
	h.Must("cp", version, "/run/bin/new")
	h.Must("mv", "/run/bin/new", "/run/bin/devlogd")
	h.Must("kill", "-USR2", fmt.Sprint(pid))
	host.WantOnce(t, c.Log(), "upgraded to devlogd v2-of-the-test from devel")
	metric(t, h.Path("/run/c1.prom"), `build_info{name="c1",version="v2-of-the-test"} 1`)
	metric(t, h.Path("/run/c1.prom"), `upgrades_total{name="c1"} 1`)
	if got := h.Receivers(); len(got) != 1 || got[0] != pid {
		t.Errorf("receivers %v, was %d: %q", got, pid, h.Processes())
	}
	host.ExpectDaemon(t, h, pid, c)
	// It repairs, and the repair hands its socket over.
	host.Check(t, os.Remove(h.Path("/dev/log")))
	host.Eventually(t, "/dev/log is a link again", func() bool {
		to, err := os.Readlink(h.Path("/dev/log"))
		return err == nil && to == "/run/devlog/log"
	})
	host.Release(t, c.Rootfs)
	host.WantOnce(t, c.Log(), host.ThreeTexts("b")...)
	h.Must("kill", "-USR2", fmt.Sprint(pid))
	metric(t, h.Path("/run/c1.prom"), `upgrades_total{name="c1"} 2`)
	metric(t, h.Path("/run/c1.prom"), `repairs_total{name="c1"} 1`)
	_, first := c.State()
	h.Must("kill", "-KILL", fmt.Sprint(first))
	c.WaitStopped()
	host.ExpectReceiversEnd(t, h)
	h.Must(c.Args("delete")...)
	host.ExpectNew(t, h, before, append(host.OCILeaves("c1"), "/run/c1.prom")...)
}

// An upgrade while the disk is full loses nothing, and tears no line.
func TestUpgradeOnFullDisk(t *testing.T) {
	host.Need(t, "root")
	h := host.NewHost(t)
	h.Must("mkdir", "/run/full")
	h.Must("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/run/full")
	cmd := h.Command(t.Context(), filepath.Join(host.BinDir, "devlogd"), "--name", "box", "--listen", "/run/s", "--rule", "*.* -/run/full/m", "--metrics-file", "/run/m.prom")
	host.Check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // it is ended below, or with the host
	metrics := h.Path("/run/m.prom")
	metric(t, metrics, `upgrades_total{name="box"} 0`)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	t.Cleanup(func() { host.Check(t, unix.Close(fd)) })
	host.Check(t, unix.Connect(fd, &unix.SockaddrUnix{Name: h.Path("/run/s")}))
	pid := h.Receivers()[0]
	const each = 200
	text := strings.Repeat("x", 1000)
	n := 0
	flood := func() {
		for range each {
			host.Check(t, host.Send(fd, fmt.Sprintf("<13>n%d: %s", n, text)))
			n++
		}
	}
	flood()
	for i := range 2 {
		h.Must("kill", "-USR2", fmt.Sprint(pid))
		metric(t, metrics, fmt.Sprintf(`upgrades_total{name="box"} %d`, i+1))
		flood()
	}
	got, err := os.ReadFile(h.Path("/run/full/m"))
	host.Check(t, err)
	if len(got) == 0 || len(got) > 64<<10 || bytes.Contains(got, []byte("upgraded")) {
		t.Fatalf("the disk is not full: %d bytes", len(got))
	}
	h.Must("mount", "-o", "remount,size=10m", "/run/full")
	wantLast := fmt.Sprintf("n%d: ", n-1)
	host.Eventually(t, "all is written", func() bool {
		got, err = os.ReadFile(h.Path("/run/full/m"))
		return err == nil && bytes.Contains(got, []byte(wantLast)) && bytes.HasSuffix(got, []byte("\n"))
	})
	next, upgrades := 0, 0
	for line := range strings.Lines(string(got)) {
		switch {
		case strings.HasSuffix(line, fmt.Sprintf(" box n%d: %s\n", next, text)):
			next++
		case strings.HasSuffix(line, ": upgraded to devlogd devel from devel\n"):
			upgrades++
		default:
			t.Fatalf("a line %q where message %d is expected", line, next)
		}
	}
	if next != n || upgrades != 2 {
		t.Errorf("%d messages of %d, %d upgrades", next, n, upgrades)
	}
	h.Must("kill", "-TERM", fmt.Sprint(pid))
	host.Eventually(t, "the receiver has ended", func() bool { return len(h.Receivers()) == 0 })
	metric(t, metrics, fmt.Sprintf(`output_written_messages_total{name="box",output="/run/full/m"} %d`, n+upgrades))
	if _, err := os.Lstat(h.Path("/run/s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
