package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/hook"
)

const state = `{"id":"c1","pid":42,"bundle":"/nowhere"}`

// hookRun is a hook with notes and a kernel's log of its own.
func hookRun(t *testing.T, stdin io.Reader) (p *program, note string, errs *bytes.Buffer) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "devlog")
	errs = &bytes.Buffer{}
	return &program{stdin: stdin, stdout: io.Discard, stderr: errs, logs: []string{dir}, kmsg: "/nowhere", devLog: "/nowhere"}, filepath.Join(dir, "c1.log"), errs
}

type crashes struct{}

func (crashes) Read([]byte) (int, error) { panic("no\nluck") }

// A hook that cannot repair succeeds, with one line that is also in the note, or fails with
// --on-error fail.
func TestHookPolicy(t *testing.T) {
	for _, tt := range []struct {
		name, args string
		stdin      io.Reader
		code       int // with --on-error fail
		says       string
		unnamed    bool
	}{
		{"no bundle", "oci --stage prestart", strings.NewReader(state), exitFailed, "/nowhere/config.json", false},
		{"wrong flag", "oci --stage prestart --rulez x", strings.NewReader(state), exitUsage, "--rulez", false},
		{"wrong stage", "oci --stage prestrat", strings.NewReader(state), exitUsage, "prestrat", false},
		{"wrong command", "ocy --stage prestart", strings.NewReader(state), exitUsage, "ocy", false},
		{"wrong value", "oci --stage poststop --on-error maybe", strings.NewReader(state), exitDone, "maybe", false},
		{"no state", "oci --stage prestart", strings.NewReader("{"), exitFailed, "JSON", true},
		{"crash", "oci --stage prestart", crashes{}, exitFailed, "internal error: no; luck (devlog/internal/cli.crashes.Read, line ", true},
	} {
		for _, fail := range []bool{false, true} {
			clean(t)
			want := exitDone
			if fail {
				t.Setenv(hook.OnErrorVariable, hook.OnErrorFail)
				want = tt.code
			}
			if s, ok := tt.stdin.(*strings.Reader); ok {
				_, err := s.Seek(0, io.SeekStart)
				if err != nil {
					t.Fatal(err)
				}
			}
			p, note, errs := hookRun(t, tt.stdin)
			if code := p.main(append([]string{"devlog-hook"}, strings.Fields(tt.args)...)); code != want {
				t.Errorf("%s: exit code %d, want %d", tt.name, code, want)
			}
			oneLine(t, errs.String(), tt.says)
			text, err := os.ReadFile(note)
			if tt.unnamed {
				continue
			}
			at, rest, _ := strings.Cut(string(text), " ")
			if _, terr := time.Parse(time.RFC3339, at); err != nil || terr != nil || rest != p.process+errs.String() {
				t.Errorf("%s: the note has %q, %v, %v, want %q", tt.name, text, err, terr, errs)
			}
		}
	}
}

// A command that a user types fails with its usual exit code, and a panic stays a panic.
func TestTypedPolicy(t *testing.T) {
	clean(t)
	p, note, _ := hookRun(t, strings.NewReader(state))
	if code := p.main([]string{"devlog-hook", "repair", "--rulez"}); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(note); err == nil {
		t.Error("it is noted")
	}
	defer func() {
		if recover() == nil {
			t.Error("a panic is hidden")
		}
	}()
	p.stdin, p.name = crashes{}, ""
	p.main([]string{"devlog-hook", "nosuch"})
}

// A hook replaces its container's note. The hook at poststop leaves it.
func TestForget(t *testing.T) {
	clean(t)
	p, note, _ := hookRun(t, nil)
	run := func(args string) string {
		p.name, p.stdin = "", strings.NewReader(state)
		p.main(append([]string{"devlog-hook"}, strings.Fields(args)...))
		text, err := os.ReadFile(note)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	first := run("oci --stage prestart")
	if again := run("oci --stage prestart"); first == "" || strings.Count(again, "\n") != 1 {
		t.Errorf("noted %q, then %q", first, again)
	}
	if after := run("oci --stage poststop"); after == "" {
		t.Error("poststop has removed the note")
	}
	if after := run("oci --stage startContainer --on-error maybe"); !strings.Contains(after, "maybe") {
		t.Errorf("noted %q", after)
	}
}

// A name that cannot be a file's is escaped in the note's file name, and complete in the
// kernel's log.
func TestNoteOfOddName(t *testing.T) {
	clean(t)
	p, note, errs := hookRun(t, nil)
	kmsg := filepath.Join(t.TempDir(), "kmsg")
	p.kmsg = kmsg
	t.Setenv("LXC_NAME", "ö/x")
	t.Setenv("LXC_HOOK_TYPE", hook.LXCStart)
	if code := p.main([]string{"devlog-hook"}); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	oneLine(t, errs.String(), "bad container name")
	if _, err := os.Stat(filepath.Join(filepath.Dir(note), "#303#266#057x.log")); err != nil {
		t.Error(err)
	}
}

// Other files in place of those for failures do not delay a hook, and get nothing.
func TestSayHostile(t *testing.T) {
	dir := t.TempDir()
	victim, fifo := filepath.Join(dir, "victim"), filepath.Join(dir, "fifo.log")
	if err := errors.Join(os.WriteFile(victim, []byte("theirs"), 0o600), unix.Mkfifo(fifo, 0o600),
		os.Symlink(victim, filepath.Join(dir, "link.log")), os.Mkdir(filepath.Join(dir, "dir.log"), 0o700)); err != nil {
		t.Fatal(err)
	}
	reader, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, listens := range []bool{true, false} {
		for _, name := range []string{"fifo", "link", "dir"} {
			place := filepath.Join(dir, name+".log")
			p := &program{stderr: &bytes.Buffer{}, Policy: hook.Policy{Hook: true}, logs: []string{dir}, name: name, hostSide: true, kmsg: place, devLog: place}
			p.exit(errors.New("no"))
			p.kmsg = victim
			p.exit(errors.New("no"))
		}
		if n, err := unix.Read(reader, make([]byte, 100)); listens && (n > 0 || err != nil) {
			t.Errorf("in the FIFO: %d bytes, %v", n, err)
		}
		if listens {
			unix.Close(reader)
		}
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "theirs" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

// If the kernel's log cannot be written, the text goes to the host's daemon, without waiting
// for it. It never goes to a container's own daemon.
func TestTellDaemon(t *testing.T) {
	place := filepath.Join(t.TempDir(), "log")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: place})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p, _, _ := hookRun(t, nil)
	p.Hook, p.name, p.devLog = true, "c1", place
	p.say(errors.New("inside"))
	p.hostSide = true
	p.say(errors.New("no\x1bluck"))
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "<11>") || !strings.HasSuffix(string(buf[:n]), " devlog-hook: container c1: no#033luck") {
		t.Errorf("it got %q, %v", buf[:max(n, 0)], err)
	}
	for range 2000 { // more than the queue holds
		p.say(errors.New("again"))
	}
}
