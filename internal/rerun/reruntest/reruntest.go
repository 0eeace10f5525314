// Package reruntest plays the command that repairs, in tests of what runs it.
package reruntest

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/handover"
)

// hookArgument as the first argument makes the test binary play the command. The second is the
// directory of a Box.
const hookArgument = "play-the-hook"

// ToLog is the link that a repair makes of /dev/log. It is relative, so that it points to the
// same socket from outside of the root.
const ToLog = "../run/devlog/log"

// deadline is how long a test waits for an event.
const deadline = 30 * time.Second

// Main plays the command, and ends, if this process was started by Box.Command. Call it in
// TestMain.
func Main() {
	if len(os.Args) != 3 || os.Args[1] != hookArgument {
		return
	}
	if err := play(os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%v\nanother line\n", err)
		os.Exit(4)
	}
	os.Exit(0)
}

// play repairs as the file "mode" says, and adds a line to "runs".
func play(dir string) error {
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
	Note(dir, "runs", fmt.Sprintf("%d: cwd %s leader %t env %q files %q\n", os.Getpid(), cwd, sid == os.Getpid(), os.Environ(), names))
	say, arg, _ := strings.Cut(string(mode), " ")
	switch say {
	case "link":
		return Relink(root, ToLog)
	case "nothing":
		return nil
	case "wait":
		Note(dir, "hangs", "yes")
		return unix.Pause()
	case "claim":
		_, err := fmt.Fprintln(os.Stderr, "repaired")
		return err
	case "fail":
		return fmt.Errorf("%s", arg)
	case "bind", "bind-hang", "bind-fail", "bind-slow":
		signal.Ignore(unix.SIGTERM) // as a repair that has begun
		unbound, ok := fds[handover.NameUnbound]
		if !ok {
			unbound = -1
		}
		if err := handOver(root, arg, fds[handover.NameReceiver], unbound); err != nil {
			return err
		}
		switch say {
		case "bind-hang":
			Note(dir, "hangs", "yes")
			return unix.Pause()
		case "bind-slow": // until the test makes the file "go"
			Note(dir, "hangs", "yes")
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
		return Relink(root, "../run/devlog/"+arg)
	}
	return fmt.Errorf("mode %q", mode)
}

// handOver binds a socket with that name and hands it over, as devlog-hook does. s is the
// socket that a confined receiver has passed, otherwise -1.
func handOver(root, name string, to, s int) (err error) {
	at := filepath.Join(root, "run/devlog")
	send := handover.SendNames
	if s < 0 {
		send = handover.SendFiles
		if s, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
	}
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: at + "/tmp"}); err != nil {
		return err
	}
	if err := os.Rename(at+"/tmp", at+"/"+name); err != nil {
		return err
	}
	fd, err := unix.Open(at, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), "/run/devlog")
	return send(to, []handover.Passed{
		{File: os.NewFile(uintptr(s), "socket"), Name: handover.NameSocket},
		{File: dir, Name: handover.NameUnlink + name},
		{File: dir, Name: handover.NameUnlink + ".devlog-repair"},
	})
}

// Relink replaces /dev/log by a link, in one step.
func Relink(root, text string) error {
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

// Note appends the text to the file in the directory.
func Note(dir, file, text string) {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, _ = f.WriteString(text)
		_ = f.Close()
	}
}

// Box is the files of a container, with /dev/log linked to the private socket's path.
type Box struct {
	T *testing.T
	// Dir has the files of the test, and Root is the container's root directory in it.
	Dir, Root string
	// Dev is the path of /dev/log, and Sock of what it points to.
	Dev, Sock string
	// Log is a file for messages.
	Log string
	// Confined says that the command runs in the watcher's sandbox.
	Confined bool
}

// New makes a Box. For mode see SetMode.
func New(t *testing.T, mode string) *Box {
	t.Helper()
	dir := t.TempDir()
	b := &Box{T: t, Dir: dir, Root: filepath.Join(dir, "root"), Log: filepath.Join(dir, "messages")}
	b.Dev, b.Sock = filepath.Join(b.Root, "dev/log"), filepath.Join(b.Root, "run/devlog/log")
	for _, d := range []string{filepath.Dir(b.Dev), filepath.Dir(b.Sock)} {
		b.Must(os.MkdirAll(d, 0o755))
	}
	b.Must(os.Symlink(ToLog, b.Dev))
	b.SetMode(mode)
	return b
}

// Must ends the test if there is an error.
func (b *Box) Must(err error) {
	b.T.Helper()
	if err != nil {
		b.T.Fatal(err)
	}
}

// SetMode says what the next repairs do: link, nothing, claim (that they repaired), fail TEXT,
// wait (for a lock, without end), or bind NAME a socket, hand it over and link to it; bind-hang, bind-slow and bind-fail do not
// complete that.
func (b *Box) SetMode(mode string) {
	b.T.Helper()
	tmp := filepath.Join(b.Dir, "mode.tmp")
	b.Must(os.WriteFile(tmp, []byte(mode), 0o600))
	b.Must(os.Rename(tmp, filepath.Join(b.Dir, "mode")))
}

// Command returns the command that repairs.
func (b *Box) Command() []string {
	b.T.Helper()
	self, err := os.Executable()
	b.Must(err)
	return []string{self, hookArgument, b.Dir}
}

// Listen binds another daemon's socket at the private socket's path.
func (b *Box) Listen() int {
	b.T.Helper()
	_ = os.Remove(b.Sock)
	return b.BindAt(b.Sock)
}

// BindAt binds a socket at that path.
func (b *Box) BindAt(at string) int {
	b.T.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	b.Must(err)
	b.T.Cleanup(func() { _ = unix.Close(s) })
	b.Must(unix.Bind(s, &unix.SockaddrUnix{Name: at}))
	return s
}

// Runs returns how often the command ran.
func (b *Box) Runs() int {
	data, err := os.ReadFile(filepath.Join(b.Dir, "runs"))
	if err != nil {
		return 0
	}
	return strings.Count(string(data), "\n")
}

// Eventually waits until the condition holds, and ends the test if it never does.
func (b *Box) Eventually(what string, is func() bool) {
	b.T.Helper()
	for end := time.Now().Add(deadline); !is(); {
		if time.Now().After(end) {
			log, _ := os.ReadFile(b.Log)
			runs, _ := os.ReadFile(filepath.Join(b.Dir, "runs"))
			b.T.Fatalf("never: %s\nruns: %s\nmessages: %s", what, runs, log)
		}
		_, _ = unix.Poll(nil, 2)
	}
}
