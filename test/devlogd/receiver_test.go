// Package devlogd tests the program devlogd by itself, without root: signals, upgrades, streams,
// what it does when it is killed, and how it watches /dev/log. The test binary is the program.
package devlogd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/devlogd"
	"devlog/internal/handover"
	"devlog/internal/rerun/reruntest"
)

// TestMain makes the test binary run as devlogd if the environment asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_BE_DEVLOGD") != "" {
		if err := filterCalls(os.Getenv("TEST_FILTER")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(devlogd.Main(os.Args, os.Stdout, os.Stderr))
	}
	reruntest.Main()
	os.Exit(m.Run())
}

const deadline = time.Minute

// running is a devlogd that was started.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	ended  chan struct{}
	stderr bytes.Buffer
}

// passed is a file to pass, with its name in LISTEN_FDNAMES.
type passed struct {
	name string
	file *os.File
}

// command returns devlogd with a clean environment, not started.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{"TEST_BE_DEVLOGD=1", "TZ=" + cmp.Or(os.Getenv("TEST_TZ"), "UTC"), "TEST_FILTER=" + os.Getenv("TEST_FILTER")}
	return cmd
}

// start runs devlogd and returns what it reports on its pipe.
func start(t *testing.T, files []passed, args ...string) (*running, string) {
	t.Helper()
	return startProgram(t, "/proc/self/exe", files, args...)
}

// startProgram is start for a copy of the program.
func startProgram(t *testing.T, path string, files []passed, args ...string) (*running, string) {
	t.Helper()
	cmd := command(args...)
	cmd.Path = path
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range append(files, passed{handover.NameReady, w}) {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f.file)
		names = append(names, f.name)
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	d := startCommand(t, cmd)
	if err := errors.Join(w.Close(), r.SetReadDeadline(time.Now().Add(deadline))); err != nil {
		t.Fatal(err)
	}
	var report bytes.Buffer
	if _, err := report.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if report.String() == "READY=1\n" && !waitFor(func() bool { return d.confined() != "" || d.hasEnded() }) {
		t.Fatal("devlogd does not say how it is confined")
	}
	return d, report.String()
}

// startCommand starts the command, which ends with the test at the latest.
func startCommand(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	d := &running{t: t, cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = &d.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the state says how it ended
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-d.ended
		if t.Failed() {
			t.Logf("devlogd: %v: %s", cmd.ProcessState, &d.stderr)
		}
	})
	return d
}

// confined returns how the receiver says that it is confined; empty before it has said so,
// shortly after it is ready.
func (d *running) confined() string {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", d.cmd.Process.Pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "/memfd:"+daemon.ConfinedPrefix) {
			return strings.TrimSuffix(strings.TrimPrefix(to, "/memfd:"+daemon.ConfinedPrefix), " (deleted)")
		}
	}
	return ""
}

func (d *running) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// startReady is start for a receiver that must be ready.
func startReady(t *testing.T, files []passed, args ...string) *running {
	t.Helper()
	d, report := start(t, files, args...)
	if report != "READY=1\n" {
		t.Fatalf("not ready: %s", report)
	}
	return d
}

func (d *running) signal(s unix.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit code.
func (d *running) wait() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(deadline):
		d.t.Fatal("devlogd does not end")
	}
	return d.cmd.ProcessState.ExitCode()
}

func (d *running) stop() {
	d.t.Helper()
	d.signal(unix.SIGTERM)
	if code := d.wait(); code != 0 || d.stderr.Len() > 0 {
		d.t.Errorf("exit code %d, stderr %q", code, &d.stderr)
	}
}

// stopLosing is stop for a receiver that must give up messages for this output.
func (d *running) stopLosing(output, why string) {
	d.t.Helper()
	d.signal(unix.SIGTERM)
	if code := d.wait(); code != 0 || !strings.HasSuffix(d.stderr.String(), " messages lost at the end: "+output+": "+why+"\n") {
		d.t.Errorf("exit code %d, stderr %q", code, &d.stderr)
	}
}

// dial returns a datagram socket connected to path.
func dial(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func send(t *testing.T, fd int, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := unix.Send(fd, []byte(m), 0); err != nil {
			t.Fatalf("send %d bytes: %v", len(m), err)
		}
	}
}

var stamp = regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} `)

// content returns a log file's text without the times.
func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // the first message creates it
		t.Fatal(err)
	}
	return stamp.ReplaceAllString(string(data), "")
}

// wantWritten expects the text in the file as often as all senders together have sent it.
func wantWritten(t *testing.T, path, text string, counts <-chan int) {
	t.Helper()
	total := 0
	for range cap(counts) {
		total += <-counts
	}
	if got := strings.Count(content(t, path), text); got != total {
		t.Errorf("%d accepted, %d written", total, got)
	}
}

// wantGone expects that no file has the name.
func wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

// wantEmpty expects an empty directory.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// await waits until a file contains a text.
func await(t *testing.T, path, text string) {
	t.Helper()
	if !waitFor(func() bool {
		data, err := os.ReadFile(path)
		return err == nil && bytes.Contains(data, []byte(text))
	}) {
		t.Fatalf("%s never contains %q: %q", path, text, content(t, path))
	}
}

// eventually waits until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !waitFor(done) {
		t.Fatalf("%s: not so after %v", what, deadline)
	}
}

func waitFor(done func() bool) bool {
	for end := time.Now().Add(deadline); !done(); {
		if time.Now().After(end) {
			return false
		}
		_, _ = unix.Poll(nil, 2) // nothing tells of a file's growth more simply
	}
	return true
}

func TestReceive(t *testing.T) {
	dir := t.TempDir()
	sock, all, mail := filepath.Join(dir, "run", "log"), filepath.Join(dir, "log", "all"), filepath.Join(dir, "log", "mail")
	// No file is synced: on a busy disk that takes more than a second, which is logged.
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+all, "--rule", "mail.err -"+mail, "--rule=mail.* -"+all)
	if info, err := os.Stat(sock); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	big := strings.Repeat("x", 64<<10-len("<13>"))
	fd := dial(t, sock)
	send(t, fd, "<30>Feb  3 04:05:06 cron[12]: hello\n\x00", "", "<19>mail: bad", "<22>mail: good", "<13>"+big,
		"<13>"+big+"too much", "a\x00b\nc\x1b[0m", "<999>x", "<13>1 - - app 7 - [a b=\"c\"] text")
	d.stop()
	want := "box cron[12]: hello\nbox \nbox mail: bad\nbox mail: good\nbox " + big + "\nbox " + big + " [cut]\n" +
		"box a#000b#012c#033[0m\nbox <999>x\nbox app[7]: [a b=\"c\"] text\n"
	if got := content(t, all); got != want {
		t.Errorf("got %q", strings.ReplaceAll(got, big, "BIG"))
	}
	if got := content(t, mail); got != "box mail: bad\n" {
		t.Errorf("mail: %q", got)
	}
	wantGone(t, sock)
}

// Messages that were queued before the end are written. An empty message does not end the
// reading.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "box", "--rule", "*.* -"+log)
	d.signal(unix.SIGSTOP)
	accepted := ""
	for sender := 0; sender < 50; sender++ {
		fd := dial(t, sock)
		for i := 0; ; i++ {
			text := fmt.Sprintf("message %d.%d", sender, i)
			if i%3 == 0 {
				text = ""
			}
			err := unix.Send(fd, []byte(text), unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EAGAIN) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			accepted += "box " + text + "\n"
		}
	}
	d.signal(unix.SIGTERM)
	d.signal(unix.SIGCONT)
	if code := d.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, &d.stderr)
	}
	if got := content(t, log); got != accepted || len(got) == 0 {
		t.Errorf("got %q, want %q", got, accepted)
	}
}

// Senders that never pause lose nothing that was accepted before the end.
func TestDrainUnderLoad(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--rule", "*.* -"+log)
	const senders = 3
	counts := make(chan int, senders)
	for range senders {
		fd := dial(t, sock)
		go func() {
			n := 0
			for unix.Send(fd, []byte("<13>x: y"), 0) == nil {
				n++
			}
			counts <- n
		}()
	}
	await(t, log, "x: y")
	d.stop()
	wantWritten(t, log, "\n", counts)
}
