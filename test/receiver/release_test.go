package receiver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// firstRelease plays an earlier release until there is one.
const firstRelease = "df663da158c45e103c8ffe318d131ebd9c601599"

// lastRelease builds devlogd of the last release, from this repository's history, with the version
// "release".
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

// steady are senders at full speed. No send may fail.
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
		// For tests that fail.
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

// goesOn waits until more messages are sent.
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

// replace replaces the program at the path, as the update of a package does.
func replace(t *testing.T, path, by string) {
	t.Helper()
	host.Check(t, host.Command("cp", by, path+".new"))
	host.Check(t, os.Rename(path+".new", path))
}

// saysTimes waits until the file has the text n times.
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

// The last release's receiver is upgraded to this one and back, again and again: no message is lost,
// and no send fails.
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
