package receiver

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/router"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
	"devlog/internal/watcher"
)

// starting returns a receiver in this process whose watcher has only just begun, and
// the sink of what it says.
func starting(b *box) (*receiver, *recorder) {
	s := &recorder{keep: true}
	r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) { return nil, nil })
	r.router.Routes = []router.Route{{Out: s, Rules: rules(b.t, "*.* -/a")}}
	b.must(r.prepare(&options{}))
	r.receives = true
	root, err := unix.Open(b.root, unix.O_PATH|unix.O_CLOEXEC, 0)
	b.must(err)
	r.startWatcher(root, b.command()[1:], false)
	b.t.Cleanup(func() {
		r.watcher.Stop()
		r.close()
		r.memory.Close()
	})
	return r, s
}

// Repairs without end do not need descriptors without end.
func TestTakeOverIsBounded(t *testing.T) {
	b := newBox(t, "nothing")
	r, said := starting(b)
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		b.must(err)
		return len(list)
	}
	hand := func(i int, in string) {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		b.must(err)
		b.must(os.MkdirAll(in, 0o755))
		name := filepath.Join(in, fmt.Sprint("s", i))
		b.must(unix.Bind(s, &unix.SockaddrUnix{Name: name}))
		dir, err := unix.Open(in, unix.O_PATH|unix.O_CLOEXEC, 0)
		b.must(err)
		up, err := unix.Open(filepath.Dir(in), unix.O_PATH|unix.O_CLOEXEC, 0)
		b.must(err)
		b.must(owner{r}.TakeOver([]handover.File{
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
		b.must(os.RemoveAll(at))
		if i == 200 {
			before = count()
		}
	}
	if after := count(); after > before { // other tests' files may go meanwhile
		t.Errorf("%d descriptors, then %d", before, after)
	}
	if len(r.sockets) != 2 || len(said.lines) > 0 {
		t.Errorf("%d sockets; %q", len(r.sockets), said.lines)
	}
	if len(r.cleanups) > maxCleanups {
		t.Errorf("%d cleanups", len(r.cleanups))
	}
	// What is handed over and is of no use is closed.
	before = count()
	null := func() int {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		b.must(err)
		return fd
	}
	b.must(owner{r}.TakeOver([]handover.File{{FD: null(), Name: handover.NameInit}, {FD: null(), Name: handover.NameRoot}}, 1))
	if err := (owner{r}).TakeOver([]handover.File{{FD: null(), Name: handover.NameSocket}, {FD: null(), Name: handover.NameUnlink + "a/b"}}, 1); err == nil {
		t.Error("took what is no socket")
	}
	if after := count(); after > before { // other tests' files may go meanwhile
		t.Errorf("%d descriptors, then %d", before, after)
	}
}

// A message of a receiver without outputs that nobody takes is not one that was told.
func TestTold(t *testing.T) {
	b := newBox(t, "")
	r := newReceiver(&options{name: "box"}, nil)
	prepared(t, r)
	root, err := unix.Open(b.root, unix.O_PATH|unix.O_CLOEXEC, 0)
	b.must(err)
	r.watcher = watcher.New(watcher.Config{Owner: owner{r}, Root: root, Init: -1})
	defer r.watcher.Close()
	r.say(syslog.Notice, "nobody listens")
	b.listen()
	r.say(syslog.Notice, "somebody does")
	if r.own != 2 || r.told != 1 || r.unrouted != 1 {
		t.Errorf("own %d, told %d, unrouted %d", r.own, r.told, r.unrouted)
	}
}

// A receiver without outputs says what is wrong in the kernel's log while the daemon is down that it
// would say it to.
func TestTellsKernel(t *testing.T) {
	said := hearKernel(t)
	b := newBox(t, "link")
	r, _ := starting(b)
	r.router.Routes = nil
	b.must(os.Remove(b.dev))
	r.say(syslog.Notice, "all is well")
	if *said != "" || r.told != 0 || r.unrouted != 1 {
		t.Errorf("a notice: %q, told %d, unrouted %d", *said, r.told, r.unrouted)
	}
	r.say(syslog.Warning, "/dev/log cannot be repaired: gone")
	if *said != "devlogd: /dev/log cannot be repaired: gone" || r.told != 1 || r.unrouted != 1 {
		t.Errorf("a warning: %q, told %d, unrouted %d", *said, r.told, r.unrouted)
	}
}
