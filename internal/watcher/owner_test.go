package watcher

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/rerun/reruntest"
	"devlog/internal/syslog"
	"devlog/internal/watches"
)

// deadline is how long a test waits for what has to come.
const deadline = 30 * time.Second

const (
	retries      = 5                // of a failed repair
	longestPause = 10 * time.Second // between repairs in a row
)

func TestMain(m *testing.M) {
	reruntest.Main()
	os.Exit(m.Run())
}

// fake is an Owner, with its Watcher.
type fake struct {
	*Watcher
	t        *testing.T
	epoll    int
	has      []Name
	said     []string
	repaired int
	onSay    func()
	onNames  func()
	onPoll   func()
	inotify  int // the instance; -1 if it was never open
}

func (f *fake) Names() []Name {
	if f.onNames != nil {
		f.onNames()
	}
	return slices.Clone(f.has)
}

func (f *fake) Retire(socket int) {
	f.has = slices.DeleteFunc(f.has, func(n Name) bool { return n.Socket == socket })
	_ = unix.Close(socket)
}

func (f *fake) TakeOver(files []handover.File, run int) error {
	var socket = -1
	for _, passed := range files {
		if passed.Name == handover.NameSocket {
			socket = passed.FD
			continue
		}
		name, _ := strings.CutPrefix(passed.Name, handover.NameUnlink)
		n := Name{Dir: passed.FD, Name: name, Socket: socket, Run: run}
		n.ID, _ = n.lookup()
		socket = -1 // only the first name is the socket's
		f.has = append(f.has, n)
	}
	if socket >= 0 {
		return errors.New("a socket without a name")
	}
	return nil
}

func (f *fake) Repaired() { f.repaired++ }

func (f *fake) Say(_ syslog.Severity, text string) {
	f.said = append(f.said, text)
	if f.onSay != nil {
		f.onSay()
	}
}

func (f *fake) Soon() {}

func (f *fake) Poll(fd int, events uint32) error {
	if f.onPoll != nil {
		f.onPoll()
	}
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if unix.EpollCtl(f.epoll, unix.EPOLL_CTL_MOD, fd, &event) == nil {
		return nil
	}
	return unix.EpollCtl(f.epoll, unix.EPOLL_CTL_ADD, fd, &event)
}

// sockets are the names with a socket.
func (f *fake) sockets() (list []Name) {
	for _, n := range f.has {
		if n.Socket >= 0 {
			list = append(list, n)
		}
	}
	return list
}

// watching returns a watcher of the box that watches.
func watching(b *reruntest.Box) *fake {
	f := starting(b)
	f.startWatching(f.Next())
	return f
}

// watchingPrivate is watching with a /dev of the container's own.
func watchingPrivate(b *reruntest.Box) *fake {
	f := startingAs(b, true)
	f.startWatching(f.Next())
	return f
}

// starting is watching with a watcher that has only just begun.
func starting(b *reruntest.Box) *fake { return startingAs(b, false) }

// watchingHost is watching on a prepared host, after the first repair.
func watchingHost(b *reruntest.Box) *fake {
	f := startingWith(b, Config{Host: true})
	f.startWatching(f.Next())
	f.look(time.Now())
	runOnce(b, f)
	return f
}

func startingAs(b *reruntest.Box, private bool) *fake {
	return startingWith(b, Config{Private: private})
}

func startingWith(b *reruntest.Box, c Config) *fake {
	f := &fake{t: b.T, inotify: -1}
	if c.Watches == nil {
		c.Watches = watches.NewInstance(func(fd int, _ func()) error {
			f.inotify = fd
			return nil
		})
	}
	var err error
	f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	b.Must(err)
	root, err := unix.Open(b.Root, unix.O_PATH|unix.O_CLOEXEC, 0)
	b.Must(err)
	c.Owner, c.Root, c.Init, c.Command, c.Confined = f, root, -1, b.Command(), func() bool { return b.Confined }
	f.Watcher = New(c)
	b.T.Cleanup(func() {
		f.Stop()
		f.Close()
		_ = unix.Close(f.epoll)
	})
	return f
}

// runOnce waits for the end of the repair that runs.
func runOnce(b *reruntest.Box, f *fake) {
	b.T.Helper()
	b.Eventually("the repair ends", func() bool {
		f.Step(time.Now())
		return f.run == nil
	})
}

// endListener closes a socket, and waits until nobody listens there: another test's child may
// have it open until its execve(2).
func endListener(t *testing.T, fd int) {
	t.Helper()
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.Connect(s, at)
		_ = unix.Close(s)
		if err != nil {
			return
		}
		_, _ = unix.Poll(nil, 2)
	}
	t.Fatal("somebody still listens")
}
