package devlogd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/names"
	"devlog/internal/pidfd"
)

// beHook as the first argument makes the test binary the command that repairs,
// and the second is the directory of a container's files.
const beHook = "be-the-hook"

// toLog is what /dev/log is to be: relative, so that it leads there from
// outside of the root as well.
const toLog = "../run/devlog/log"

// playHook repairs as the file "mode" says, and notes each run in "runs".
func playHook(dir string) int {
	err := tryHook(dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\nanother line\n", err)
		return 4
	}
	return 0
}

func tryHook(dir string) error {
	files, err := handover.Inherited()
	if err != nil {
		return err
	}
	fds := map[string]int{}
	var names []string
	for _, f := range files {
		fds[f.Name] = f.FD
		names = append(names, f.Name)
	}
	root := file.Path(fds[handover.NameRoot])
	mode, err := os.ReadFile(filepath.Join(dir, "mode"))
	if err != nil {
		return err
	}
	cwd, _ := os.Getwd()
	sid, _ := unix.Getsid(0)
	note(dir, "runs", fmt.Sprintf("%d: cwd %s leader %t env %q files %q\n", os.Getpid(), cwd, sid == os.Getpid(), os.Environ(), names))
	say, arg, _ := strings.Cut(string(mode), " ")
	switch say {
	case "link":
		return relink(root, toLog)
	case "nothing":
		return nil
	case "claim":
		_, err := fmt.Fprintln(os.Stderr, "repaired")
		return err
	case "fail":
		return fmt.Errorf("%s", arg)
	case "bind", "bind-hang", "bind-fail", "bind-slow":
		if err := handOver(root, arg, fds[handover.NameReceiver]); err != nil {
			return err
		}
		switch say {
		case "bind-hang":
			note(dir, "hangs", "yes")
			return unix.Pause()
		case "bind-slow": // until it is let go on
			note(dir, "hangs", "yes")
			for {
				if _, err := os.Stat(filepath.Join(dir, "go")); err == nil {
					break
				}
				_, _ = unix.Poll(nil, 2)
			}
		case "bind-fail":
			if err := os.Remove(filepath.Join(root, "run/devlog", arg)); err != nil {
				return err
			}
			return fmt.Errorf("took it back")
		}
		return relink(root, "../run/devlog/"+arg)
	}
	return fmt.Errorf("mode %q", mode)
}

// handOver binds a socket and hands it over as the hook does.
func handOver(root, name string, to int) error {
	at := filepath.Join(root, "run/devlog")
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: at + "/tmp"}); err != nil {
		return err
	}
	if err := os.Rename(at+"/tmp", at+"/"+name); err != nil {
		return err
	}
	dir, err := os.Open(at)
	if err != nil {
		return err
	}
	return handover.SendFiles(to, []handover.Passed{
		{File: os.NewFile(uintptr(s), "socket"), Name: handover.NameSocket},
		{File: dir, Name: handover.NameUnlink + name},
		{File: dir, Name: handover.NameUnlink + ".devlog-repair"},
	})
}

// relink replaces /dev/log by a link, in one step.
func relink(root, text string) error {
	tmp := filepath.Join(root, "dev", fmt.Sprintf(".tmp%d", os.Getpid()))
	if err := os.Symlink(text, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(root, "dev/log")); err != nil {
		return err
	}
	_, err := fmt.Fprintln(os.Stderr, "repaired")
	return err
}

func note(dir, file, text string) {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, _ = f.WriteString(text)
		_ = f.Close()
	}
}

// box is a container's files.
type box struct {
	t    *testing.T
	dir  string
	root string
	dev  string // /dev/log
	sock string // where that leads
	log  string // what the receiver writes
}

func newBox(t *testing.T, mode string) *box {
	t.Helper()
	dir := t.TempDir()
	b := &box{t: t, dir: dir, root: filepath.Join(dir, "root"), log: filepath.Join(dir, "messages")}
	b.dev, b.sock = filepath.Join(b.root, "dev/log"), filepath.Join(b.root, "run/devlog/log")
	for _, d := range []string{filepath.Dir(b.dev), filepath.Dir(b.sock)} {
		b.must(os.MkdirAll(d, 0o755))
	}
	b.must(os.Symlink(toLog, b.dev))
	b.mode(mode)
	return b
}

func (b *box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// mode says how the next repairs go.
func (b *box) mode(text string) {
	b.t.Helper()
	tmp := filepath.Join(b.dir, "mode.tmp")
	b.must(os.WriteFile(tmp, []byte(text), 0o600))
	b.must(os.Rename(tmp, filepath.Join(b.dir, "mode")))
}

// command is what the receiver is to run.
func (b *box) command() []string {
	self, err := os.Executable()
	b.must(err)
	return []string{"--", self, beHook, b.dir}
}

// keep starts a receiver with a socket that keeps the repair.
func (b *box) keep(more ...passed) *devlogd {
	b.t.Helper()
	return b.keepWith(nil, more...)
}

// keepWith is keep with more arguments and files.
func (b *box) keepWith(args []string, more ...passed) *devlogd {
	b.t.Helper()
	_, socket := passedSocket(b.t, filepath.Dir(b.sock))
	d := startReady(b.t, append([]passed{
		socket,
		{handover.NameUnlink + "log", openDir(b.t, filepath.Dir(b.sock))},
		{handover.NameUnlink + ".devlog-repair", openDir(b.t, filepath.Dir(b.sock))},
		{handover.NameRoot, openDir(b.t, b.root)},
	}, more...), append(append(args, "--name", "box", "--rule", "*.* -"+b.log), b.command()...)...)
	_ = socket.file.Close() // or the socket would live on here
	return d
}

// listen binds another daemon's socket at the private socket's path.
func (b *box) listen() int {
	b.t.Helper()
	_ = os.Remove(b.sock)
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	b.must(err)
	b.t.Cleanup(func() { _ = unix.Close(s) })
	b.must(unix.Bind(s, &unix.SockaddrUnix{Name: b.sock}))
	return s
}

// record writes the record of a repair that has started the process.
func (b *box) record(pid int) {
	b.t.Helper()
	started, err := pidfd.StartTime(pid)
	b.must(err)
	text, err := json.MarshalIndent(map[string]any{
		"mount_ns": 1, "receiver": pid, "started": started, "was_owner": map[string]any{"receiver": 1},
	}, "", "\t")
	b.must(err)
	b.must(os.WriteFile(filepath.Join(filepath.Dir(b.sock), names.Record), text, 0o600))
}

// seconds is the time as a socket's time-out, whose fields differ from one
// architecture to another.
func seconds(d time.Duration) *unix.Timeval {
	v := unix.NsecToTimeval(int64(d))
	return &v
}

// read returns the next message at another daemon's socket.
func (b *box) read(s int) string {
	b.t.Helper()
	b.must(unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, seconds(deadline)))
	buf := make([]byte, 1024)
	n, err := unix.Read(s, buf)
	for errors.Is(err, unix.EINTR) { // with a time-out it is not begun again by itself
		n, err = unix.Read(s, buf)
	}
	b.must(err)
	return string(buf[:n])
}

// runs is how often the command ran.
func (b *box) runs() int {
	data, err := os.ReadFile(filepath.Join(b.dir, "runs"))
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

// leads waits until /dev/log is this link.
func (b *box) leads(to string) {
	b.t.Helper()
	b.eventually("/dev/log leads to "+to, func() bool {
		text, err := os.Readlink(b.dev)
		return err == nil && text == to
	})
}

func (b *box) eventually(what string, is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(deadline); !is(); {
		if time.Now().After(end) {
			log, _ := os.ReadFile(b.log)
			runs, _ := os.ReadFile(filepath.Join(b.dir, "runs"))
			b.t.Fatalf("never: %s\nruns: %s\nmessages: %s", what, runs, log)
		}
		_, _ = unix.Poll(nil, 2)
	}
}
