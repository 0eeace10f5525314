package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
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
}

func newBox(t *testing.T, mode string) *box {
	t.Helper()
	dir := t.TempDir()
	b := &box{t: t, dir: dir, root: filepath.Join(dir, "root")}
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

// command is what the watcher is to run.
func (b *box) command() []string {
	self, err := os.Executable()
	b.must(err)
	return []string{self, beHook, b.dir}
}

// listen binds another daemon's socket at the private socket's path.
func (b *box) listen() int {
	b.t.Helper()
	_ = os.Remove(b.sock)
	return b.bindAt(b.sock)
}

// bindAt binds a socket at that path.
func (b *box) bindAt(at string) int {
	b.t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	b.must(err)
	b.t.Cleanup(func() { _ = unix.Close(s) })
	b.must(unix.Bind(s, &unix.SockaddrUnix{Name: at}))
	return s
}

// runs is how often the command ran.
func (b *box) runs() int {
	data, err := os.ReadFile(filepath.Join(b.dir, "runs"))
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

func (b *box) eventually(what string, is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(deadline); !is(); {
		if time.Now().After(end) {
			runs, _ := os.ReadFile(filepath.Join(b.dir, "runs"))
			b.t.Fatalf("never: %s\nruns: %s", what, runs)
		}
		_, _ = unix.Poll(nil, 2)
	}
}
