package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/cleanup"
	"devlog/internal/file/filetest"
	"devlog/internal/handover"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// box is a container's files, for receivers that watch it.
type box struct {
	root, dev, sock string // its root directory, /dev/log and where that leads
}

func newBox(t *testing.T) *box {
	t.Helper()
	root := t.TempDir()
	b := &box{root: root, dev: filepath.Join(root, "dev/log"), sock: filepath.Join(root, "run/devlog/log")}
	for _, dir := range []string{filepath.Dir(b.dev), filepath.Dir(b.sock)} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.Symlink("../run/devlog/log", b.dev))
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen binds another daemon's socket at the private socket's path.
func (b *box) listen(t *testing.T) {
	t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(s) })
	must(t, unix.Bind(s, &unix.SockaddrUnix{Name: b.sock}))
}

// watching returns a receiver whose watcher has just started, and what it logs.
func (b *box) watching(t *testing.T) (*Receiver, *recorder) {
	t.Helper()
	s := &recorder{keep: true}
	r := newReceiver(t, Config{Name: "box", Rules: func() ([]syslogconf.Rule, error) { return nil, nil }, Repair: Repair{Command: []string{"/bin/true"}}})
	r.router.Routes = []router.Route{{Out: s, Rules: rules(t, "*.* -/a")}}
	r.receives = true
	r.root = openDir(t, b.root)
	r.startWatcher()
	t.Cleanup(func() { r.watcher.Stop() })
	return r, s
}

// Any number of repairs needs a bounded number of descriptors.
func TestTakeOverIsBounded(t *testing.T) {
	b := newBox(t)
	r, said := b.watching(t)
	hand := func(i int, in string) {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, os.MkdirAll(in, 0o755))
		name := filepath.Join(in, fmt.Sprint("s", i))
		must(t, unix.Bind(s, &unix.SockaddrUnix{Name: name}))
		dir, err := unix.Open(in, unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		up, err := unix.Open(filepath.Dir(in), unix.O_PATH|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, owner{r}.TakeOver([]handover.File{
			{FD: s, Name: handover.NameSocket}, {FD: dir, Name: handover.NameUnlink + filepath.Base(name)},
			{FD: up, Name: handover.NameRmdir + filepath.Base(in)},
		}, 1))
		if len(r.sockets) > 2 { // the watcher gives up the oldest ones
			owner{r}.Retire(r.sockets[1].FD)
		}
	}
	in := filepath.Dir(b.sock)
	hand(0, in)
	before := 0
	for i := range 400 {
		at := filepath.Join(in, fmt.Sprint("d", i))
		hand(i+1, at)
		must(t, os.RemoveAll(at))
		if i == 200 {
			before = filetest.Open(t)
		}
	}
	if after := filetest.Open(t); after > before { // other tests' files may go meanwhile
		t.Errorf("%d descriptors, then %d", before, after)
	}
	if len(r.sockets) != 2 || len(said.lines) > 0 {
		t.Errorf("%d sockets; %q", len(r.sockets), said.lines)
	}
	if len(r.cleanups) > cleanup.Max {
		t.Errorf("%d cleanups", len(r.cleanups))
	}
	// What is handed over and is of no use is closed.
	before = filetest.Open(t)
	null := func() int {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		return fd
	}
	must(t, owner{r}.TakeOver([]handover.File{{FD: null(), Name: handover.NameInit}, {FD: null(), Name: handover.NameRoot}}, 1))
	if err := (owner{r}).TakeOver([]handover.File{{FD: null(), Name: handover.NameSocket}, {FD: null(), Name: handover.NameUnlink + "a/b"}}, 1); err == nil {
		t.Error("took what is no socket")
	}
	if after := filetest.Open(t); after > before { // other tests' files may go meanwhile
		t.Errorf("%d descriptors, then %d", before, after)
	}
}

// A message of a receiver without outputs counts as told only if a daemon received it.
func TestTold(t *testing.T) {
	b := newBox(t)
	r, _ := b.watching(t)
	r.router.Routes = nil
	r.Say(syslog.Notice, "nobody listens")
	b.listen(t)
	r.Say(syslog.Notice, "somebody does")
	if r.counts.Own != 2 || r.counts.Told != 1 || r.counts.Unrouted != 1 {
		t.Errorf("own %d, told %d, unrouted %d", r.counts.Own, r.counts.Told, r.counts.Unrouted)
	}
}

// A receiver without outputs reports problems in the kernel's log while the container's daemon
// is down.
func TestTellsKernel(t *testing.T) {
	b := newBox(t)
	r, _ := b.watching(t)
	said := hearKernel(r)
	r.router.Routes = nil
	must(t, os.Remove(b.dev))
	r.Say(syslog.Notice, "all is well")
	if *said != "" || r.counts.Told != 0 || r.counts.Unrouted != 1 {
		t.Errorf("a notice: %q, told %d, unrouted %d", *said, r.counts.Told, r.counts.Unrouted)
	}
	r.Say(syslog.Warning, "/dev/log cannot be repaired: gone")
	if *said != "devlogd: /dev/log cannot be repaired: gone" || r.counts.Told != 1 || r.counts.Unrouted != 1 {
		t.Errorf("a warning: %q, told %d, unrouted %d", *said, r.counts.Told, r.counts.Unrouted)
	}
}
