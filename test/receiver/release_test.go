package receiver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/test/host"
)

// firstRelease stands for a release before until there is one.
const firstRelease = "df663da158c45e103c8ffe318d131ebd9c601599"

// lastRelease builds devlogd as it was in the last release, from this repository's
// history. It says that its version is "release".
var lastRelease = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(host.BinDir), "release-") // removed with it
	if err != nil {
		return "", err
	}
	run := func(dir, line string, args ...string) (string, error) {
		cmd := exec.Command("sh", append([]string{"-c", line, "sh"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", line, err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	const git = "git -c safe.directory='*' "
	revision, err := run(".", git+"describe --tags --abbrev=0")
	if err != nil {
		revision = firstRelease
	}
	if _, err = run("..", git+`archive "$1" >"$2"/tar && mkdir "$2"/src && tar -x -C "$2"/src -f "$2"/tar`, revision, dir); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "devlogd")
	_, err = run(filepath.Join(dir, "src"), `go build -trimpath -ldflags '-X devlog/internal/receiver.Version=release -X devlog/internal/devlogd.Version=release' -o "$1" ./cmd/devlogd`, path)
	return path, err
})

// needRelease returns the path of the last release's devlogd.
func needRelease(t *testing.T) string {
	t.Helper()
	path, err := lastRelease()
	if err != nil && os.Getenv("DEVLOG_TEST_REQUIRE") != "" {
		t.Fatalf("this test needs the last release's source, from the repository's whole history: %v", err)
	} else if err != nil {
		t.Skipf("this test needs the last release's source, from the repository's whole history: %v", err)
	}
	return path
}

// steady are senders at full speed, of which no send may fail.
type steady struct {
	t    *testing.T
	stop atomic.Bool
	sent []int
	wait sync.WaitGroup
	n    atomic.Int64 // all together
}

func startSteady(t *testing.T, socket string, senders int) *steady {
	t.Helper()
	f := &steady{t: t, sent: make([]int, senders)}
	for i := range senders {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		host.Check(t, err)
		t.Cleanup(func() { host.Check(t, unix.Close(fd)) })
		host.Check(t, unix.Connect(fd, &unix.SockaddrUnix{Name: socket}))
		// So that a test that fails ends.
		host.Check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 100000}))
		f.wait.Add(1)
		go func() {
			defer f.wait.Done()
			for !f.stop.Load() {
				err := host.Send(fd, fmt.Sprintf("<14>test: sender %d number %d.", i, f.sent[i]))
				if errors.Is(err, unix.EAGAIN) {
					continue
				}
				if err != nil {
					t.Errorf("send: %v", err)
					return
				}
				f.sent[i]++
				f.n.Add(1)
			}
		}()
	}
	t.Cleanup(func() { f.end() })
	return f
}

// goesOn waits until more is sent.
func (f *steady) goesOn() {
	f.t.Helper()
	before := f.n.Load()
	host.Eventually(f.t, "senders go on", func() bool { return f.n.Load() > before+500 })
}

func (f *steady) end() []int {
	f.stop.Store(true)
	f.wait.Wait()
	return f.sent
}

// replace has the program at path be another one, as a package's update does it.
func replace(t *testing.T, path, by string) {
	t.Helper()
	host.Check(t, host.Command("cp", by, path+".new"))
	host.Check(t, os.Rename(path+".new", path))
}

// saysTimes waits until the file has the text so often.
func saysTimes(t *testing.T, file, text string, times int) {
	t.Helper()
	var got []byte
	if !host.WaitFor(func() bool {
		got, _ = os.ReadFile(file) // a missing file counts as empty
		return strings.Count(string(got), text) >= times
	}) {
		t.Fatalf("%s lacks %d times %q; it ends in %s", file, times, text, got[max(0, len(got)-2000):])
	}
}

// The last release's receiver is upgraded to this one and back, again and again:
// senders lose nothing, and notice nothing.
func TestUpgradeFromRelease(t *testing.T) {
	old := needRelease(t)
	dir := t.TempDir()
	program, log := filepath.Join(dir, "devlogd"), filepath.Join(dir, "messages")
	replace(t, program, old)
	r := host.RunCommand(t, filepath.Join(dir, "log"), exec.Command(program, "--listen", filepath.Join(dir, "log"), "--rule", "*.* -"+log, "--name", "box", "--sandbox", "off"))
	host.Eventually(t, "it receives", func() bool {
		_, err := os.Lstat(r.Socket)
		return err == nil
	})
	f := startSteady(t, r.Socket, 4)
	for i := range 3 {
		for _, to := range []struct{ program, from, name string }{{filepath.Join(host.BinDir, "devlogd"), "release", "devel"}, {old, "devel", "release"}} {
			f.goesOn()
			replace(t, program, to.program)
			host.Check(t, unix.Kill(r.Cmd.Process.Pid, unix.SIGUSR2))
			saysTimes(t, log, "upgraded to devlogd "+to.name+" from "+to.from, i+1)
		}
	}
	f.goesOn()
	sent := f.end()
	host.Check(t, unix.Kill(r.Cmd.Process.Pid, unix.SIGTERM))
	<-r.Done
	host.ExpectAll(t, log, "test", sent, 0)
}

// The same if a receiver is killed after the update, and restarted by the supervisor that holds
// its sockets.
func TestKilledAfterUpdateFromRelease(t *testing.T) {
	old := needRelease(t)
	dir := t.TempDir()
	log := filepath.Join(dir, "messages")
	s := startStored(t, dir, old, "--rule", "*.* -"+log, "--name", "box", "--sandbox", "off")
	f := startSteady(t, s.socket, 4)
	const rounds = 3
	for range rounds {
		for _, program := range []string{filepath.Join(host.BinDir, "devlogd"), old} {
			f.goesOn()
			s.kill()
			s.start(program)
		}
	}
	f.goesOn()
	sent := f.end()
	s.kill()
	s.start(filepath.Join(host.BinDir, "devlogd"))
	saysTimes(t, log, fmt.Sprint("(", 2*rounds+1, " times by now)"), 1)
	s.end()
	host.ExpectAll(t, log, "test", sent, 2*rounds+1)
}

// A receiver whose store another version has laid out in its own way is started
// again, with its sockets.
func TestKilledWithAnotherLayout(t *testing.T) {
	dir := t.TempDir()
	log, metrics := filepath.Join(dir, "messages"), filepath.Join(dir, "prom")
	program := filepath.Join(host.BinDir, "devlogd")
	s := startStored(t, dir, program, "--rule", "*.* -"+log, "--name", "box", "--sandbox", "off", "--metrics-file", metrics)
	f := startSteady(t, s.socket, 1)
	f.goesOn()
	f.end()
	s.kill()
	fd := s.files["devlogd-store"]
	_, err := unix.Pwrite(fd, []byte("another layout"), 0)
	host.Check(t, err)
	again := startSteady(t, s.socket, 2)
	s.start(program, "--later-option=x")
	saysTimes(t, log, "its sockets are kept, its counters and unwritten messages are lost", 1)
	metric(t, metrics, `fresh_starts_total{name="box"} 1`)
	again.goesOn()
	again.end()
	// From here on it is as before.
	s.kill()
	s.start(program)
	saysTimes(t, log, "killed; restarted by ", 2)
	s.end()
}

// stored is a receiver whose files somebody else holds as systemd does, its
// descriptor store (FileDescriptorStoreMax= of systemd.service(5)).
type stored struct {
	t              *testing.T
	socket, notify string
	args           []string
	cmd            *exec.Cmd
	conn           int // where it is told
	mu             sync.Mutex
	files          map[string]int
	ready          int // times
}

// startStored starts a receiver and hands it a socket over, as a hook does.
func startStored(t *testing.T, dir, program string, args ...string) *stored {
	t.Helper()
	s := &stored{t: t, socket: filepath.Join(dir, "log"), notify: filepath.Join(dir, "notify"), args: args, files: map[string]int{}}
	var err error
	s.conn, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	host.Check(t, unix.Bind(s.conn, &unix.SockaddrUnix{Name: s.notify}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s.hear() {
		}
	}()
	t.Cleanup(func() {
		if s.cmd != nil {
			s.kill()
		}
		host.Check(t, unix.Shutdown(s.conn, unix.SHUT_RDWR))
		<-done
		host.Check(t, unix.Close(s.conn))
		for _, fd := range s.files {
			host.Check(t, unix.Close(fd))
		}
	})
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	host.Check(t, unix.Bind(socket, &unix.SockaddrUnix{Name: s.socket}))
	meet, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	host.Check(t, unix.Bind(meet, &unix.SockaddrUnix{Name: filepath.Join(dir, "files")}))
	host.Check(t, unix.Listen(meet, 1))
	s.run(program)
	conn, _, err := unix.Accept4(meet, unix.SOCK_CLOEXEC)
	host.Check(t, err)
	file := os.NewFile(uintptr(socket), "log")
	host.Check(t, handover.SendFiles(conn, []handover.Passed{{File: file, Name: handover.NameSocket}}))
	host.Check(t, file.Close())
	host.Check(t, unix.Close(conn))
	host.Check(t, unix.Close(meet))
	s.isReady(1)
	return s
}

// hear reads what the receiver tells its supervisor, and returns whether there may be more.
func (s *stored) hear() bool {
	text, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := unix.Recvmsg(s.conn, text, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return errors.Is(err, unix.EINTR)
	}
	var fds []int
	if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
		fds, _ = unix.ParseUnixRights(&messages[0])
	}
	var name string
	remove := false
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(text[:n])) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "FDNAME":
			name = value
		case "FDSTOREREMOVE":
			remove = true
		case "READY":
			s.ready++
		}
	}
	if fd, ok := s.files[name]; ok && (remove || len(fds) > 0) {
		_ = unix.Close(fd)
		delete(s.files, name)
	}
	for _, fd := range fds {
		s.files[name] = fd
	}
	return true
}

// run starts the program, with all files that are held.
func (s *stored) run(program string, more ...string) {
	s.t.Helper()
	s.cmd = exec.Command(program, append(s.args, more...)...)
	s.cmd.Stderr = os.Stderr
	s.cmd.Env = []string{"NOTIFY_SOCKET=" + s.notify, "DEVLOGD_FILES=" + filepath.Join(filepath.Dir(s.notify), "files")}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, fd := range s.files {
		twin, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		host.Check(s.t, err)
		f := os.NewFile(uintptr(twin), name)
		defer f.Close()
		s.cmd.ExtraFiles = append(s.cmd.ExtraFiles, f)
		names = append(names, name)
	}
	if len(names) > 0 {
		s.cmd.Env = append(s.cmd.Env, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	host.Check(s.t, s.cmd.Start())
}

// start is run for a receiver that was killed.
func (s *stored) start(program string, more ...string) {
	s.t.Helper()
	s.mu.Lock()
	before := s.ready
	s.mu.Unlock()
	s.run(program, more...)
	s.isReady(before + 1)
}

func (s *stored) isReady(times int) {
	s.t.Helper()
	host.Eventually(s.t, "the receiver is ready", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ready >= times
	})
}

// kill kills the receiver.
func (s *stored) kill() {
	s.t.Helper()
	host.Check(s.t, s.cmd.Process.Kill())
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
}

// end ends the receiver as systemctl stop does.
func (s *stored) end() {
	s.t.Helper()
	host.Check(s.t, s.cmd.Process.Signal(unix.SIGINT))
	host.Check(s.t, s.cmd.Wait())
	s.cmd = nil
}
