package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// buildReceiver builds a devlogd that says it is this version.
func buildReceiver(t *testing.T, version string, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "devlogd")
	args := append([]string{"build", "-trimpath", "-ldflags", "-X devlog/internal/receiver.Version=" + version, "-o", path}, more...)
	cmd := exec.Command("go", append(args, "devlog/cmd/devlogd")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}

// metric waits until the metrics file says this.
func metric(t *testing.T, file, sample string) {
	t.Helper()
	var got []byte
	if !waitFor(func() bool {
		got, _ = os.ReadFile(file) // not there yet is as good as empty
		return bytes.Contains(got, []byte("\ndevlogd_"+sample+"\n"))
	}) {
		t.Fatalf("%s lacks %q; it holds:\n%s", file, sample, got)
	}
}

// A receiver that a hook has started is replaced by another version, and keeps
// the repair, its process ID, its limits and its container.
func TestUpgradeOfHooksReceiver(t *testing.T) {
	needContainers(t, "runc")
	h := NewHost(t)
	version := buildReceiver(t, "v2-of-the-test")
	h.Must("mkdir", "/run/bin")
	h.Must("cp", filepath.Join(binDir, "devlogd"), "/run/bin/devlogd")
	before := hostTree(h)
	c := NewOCI(t, h, "runc", "c1", threeClients("a")+hold+threeClients("b")+"exec sleep 1000")
	c.Hook("createRuntime", "--receiver", "/run/bin/devlogd", "--metrics-file", "/run/{name}.prom", "--rate", "100000/s", "--overflow", "block", "--compress-repeats")
	c.Write().Create()
	c.Start()
	wantOnce(t, c.Log(), threeTexts("a")...)
	pid := h.Receivers()[0]
	line, err := os.ReadFile(h.Path(fmt.Sprintf("/proc/%d/cmdline", pid)))
	check(t, err)
	if want := "\x00--rate\x00100000/s\x00--overflow\x00block\x00--compress-repeats\x00--metrics-file\x00/run/c1.prom\x00"; !bytes.Contains(line, []byte(want)) {
		t.Errorf("the receiver's command line is %q", line)
	}
	// As a package's update does it.
	h.Must("cp", version, "/run/bin/new")
	h.Must("mv", "/run/bin/new", "/run/bin/devlogd")
	h.Must("kill", "-USR2", fmt.Sprint(pid))
	wantOnce(t, c.Log(), "upgraded to devlogd v2-of-the-test from devel")
	metric(t, h.Path("/run/c1.prom"), `build_info{name="c1",version="v2-of-the-test"} 1`)
	metric(t, h.Path("/run/c1.prom"), `upgrades_total{name="c1"} 1`)
	if got := h.Receivers(); len(got) != 1 || got[0] != pid {
		t.Errorf("receivers %v, was %d: %q", got, pid, h.Processes())
	}
	expectDaemon(t, h, pid, c)
	// It heals, and what heals it hands its socket over.
	check(t, os.Remove(h.Path("/dev/log")))
	eventually(t, "/dev/log is a link again", func() bool {
		to, err := os.Readlink(h.Path("/dev/log"))
		return err == nil && to == "/run/devlog/log"
	})
	release(t, c.Rootfs)
	wantOnce(t, c.Log(), threeTexts("b")...)
	h.Must("kill", "-USR2", fmt.Sprint(pid))
	metric(t, h.Path("/run/c1.prom"), `upgrades_total{name="c1"} 2`)
	metric(t, h.Path("/run/c1.prom"), `repairs_total{name="c1"} 1`)
	_, first := c.State()
	h.Must("kill", "-KILL", fmt.Sprint(first))
	c.WaitStopped()
	expectReceiversEnd(t, h)
	h.Must(c.Args("delete")...)
	expectNew(t, h, before, append(ociLeaves("c1"), "/run/c1.prom")...)
}

// An upgrade while the disk is full loses nothing, and tears no line.
func TestUpgradeOnFullDisk(t *testing.T) {
	need(t, "root")
	h := NewHost(t)
	h.Must("mkdir", "/run/full")
	h.Must("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/run/full")
	cmd := h.Command(t.Context(), filepath.Join(binDir, "devlogd"), "--name", "box", "--listen", "/run/s", "--rule", "*.* -/run/full/m", "--metrics-file", "/run/m.prom")
	check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // it is ended below, or with the host
	metrics := h.Path("/run/m.prom")
	metric(t, metrics, `upgrades_total{name="box"} 0`)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Close(fd)) })
	check(t, unix.Connect(fd, &unix.SockaddrUnix{Name: h.Path("/run/s")}))
	pid := h.Receivers()[0]
	const each = 200
	text := strings.Repeat("x", 1000)
	n := 0
	flood := func() {
		for range each {
			check(t, send(fd, fmt.Sprintf("<13>n%d: %s", n, text)))
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
	check(t, err)
	if len(got) == 0 || len(got) > 64<<10 || bytes.Contains(got, []byte("upgraded")) {
		t.Fatalf("the disk is not full: %d bytes", len(got))
	}
	h.Must("mount", "-o", "remount,size=10m", "/run/full")
	wantLast := fmt.Sprintf("n%d: ", n-1)
	eventually(t, "all is written", func() bool {
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
	eventually(t, "the receiver has ended", func() bool { return len(h.Receivers()) == 0 })
	metric(t, metrics, fmt.Sprintf(`output_written_messages_total{name="box",output="/run/full/m"} %d`, n+upgrades))
	if _, err := os.Lstat(h.Path("/run/s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
