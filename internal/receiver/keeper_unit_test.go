package receiver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/handover"
	"devlog/internal/output"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// keeping returns a receiver in this process that keeps the box's repair, and
// the sink of what it says.
func keeping(b *box) (*receiver, *sink) {
	r, s := starting(b)
	r.startWatching(r.keeper.next())
	return r, s
}

// starting is keeping with a receiver that has only just begun.
func starting(b *box) (*receiver, *sink) {
	s := &sink{keep: true}
	r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) { return nil, nil })
	r.routes = []route{{s, rules(b.t, "*.* -/a")}}
	var err error
	r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	b.must(err)
	r.batch, err = newBatch(false)
	b.must(err)
	root, err := unix.Open(b.root, unix.O_PATH|unix.O_CLOEXEC, 0)
	b.must(err)
	r.startKeeper(root, b.command()[1:])
	b.t.Cleanup(func() {
		r.stopKeeper()
		unix.Close(r.keeper.inotify)
		r.close()
		r.keeper.root.Close()
	})
	return r, s
}

// runOnce waits for the end of the repair that runs.
func runOnce(b *box, r *receiver) {
	b.t.Helper()
	b.eventually("the repair ends", func() bool {
		r.stepKeeper(time.Now())
		return r.keeper.run == nil
	})
}

func TestRunTime(t *testing.T) {
	b := newBox(t, "bind-hang other")
	r, said := keeping(b)
	b.must(os.Remove(b.dev))
	now := time.Now()
	r.look(now)
	k := r.keeper
	if k.run == nil || !k.next().Equal(now.Add(runTime)) {
		t.Fatalf("not started until %v", k.next())
	}
	pid := k.run.pid
	r.stepKeeper(now.Add(runTime - 1))
	if k.run.killed {
		t.Error("killed too early")
	}
	r.stepKeeper(now.Add(runTime))
	if !k.run.killed || !k.next().IsZero() {
		t.Errorf("killed %v, next %v", k.run.killed, k.next())
	}
	runOnce(b, r)
	if !strings.HasSuffix(said.lines[0], ": /dev/log cannot be repaired: the repair had not ended after 30s\n") {
		t.Errorf("%q", said.lines)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("it still runs: %v", err)
	}
}

// Repairs that follow each other do so ever more slowly, until it was quiet.
func TestBackOff(t *testing.T) {
	b := newBox(t, "claim")
	r, said := keeping(b)
	b.must(os.Remove(b.dev))
	r.keeper.text = toLog
	var delays []time.Duration
	for range 9 {
		now := r.keeper.last.Add(r.keeper.delay)
		if r.keeper.last.IsZero() {
			now = time.Now()
		} else {
			r.look(now.Add(-1))
			if r.keeper.run != nil || !r.keeper.next().Equal(now) && len(delays) == 0 {
				t.Fatalf("runs at once, or at %v instead of %v", r.keeper.next(), now)
			}
		}
		r.keeper.text = toLog // it did nothing, as if there were no repair
		r.look(now)
		runOnce(b, r)
		delays = append(delays, r.keeper.delay)
		r.keeper.text = toLog
	}
	ms := time.Millisecond
	if want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 6400 * ms, lastDelay, lastDelay}; !slices.Equal(delays, want) {
		t.Errorf("%v", delays)
	}
	r.look(r.keeper.last.Add(quiet + 1))
	if r.keeper.run == nil || r.keeper.delay != 0 {
		t.Errorf("not reset: %v", r.keeper.delay)
	}
	runOnce(b, r)
	if len(said.lines) != 1 {
		t.Errorf("%q", said.lines)
	}
	r.stepKeeper(time.Now().Add(2 * sayEvery))
	if len(said.lines) != 2 || !strings.Contains(said.lines[1], "repaired (10 times since ") || r.keeper.unsaid {
		t.Errorf("%q", said.lines)
	}
}

// Where another's receiver is always faster, the next look is never far off.
func TestBackOffIdle(t *testing.T) {
	b := newBox(t, "nothing")
	r, said := keeping(b)
	b.must(os.Remove(b.dev))
	now := time.Now()
	for range 8 {
		r.keeper.text = toLog // wrong again
		r.look(now)
		runOnce(b, r)
		now = r.keeper.last.Add(r.keeper.delay)
	}
	if r.keeper.delay != idleDelay {
		t.Errorf("the delay is %v, want %v", r.keeper.delay, idleDelay)
	}
	r.keeper.delay = 4 * time.Second // of repairs before
	r.keeper.text = toLog
	r.look(r.keeper.last.Add(r.keeper.delay))
	runOnce(b, r)
	if r.keeper.delay != 4*time.Second || len(said.lines) > 0 {
		t.Errorf("the delay is %v, said is %q", r.keeper.delay, said.lines)
	}
}

func TestNoteEvents(t *testing.T) {
	event := func(wd int, mask uint32, name string) []byte {
		raw := make([]byte, unix.SizeofInotifyEvent, 64)
		binary.NativeEndian.PutUint32(raw, uint32(wd))
		binary.NativeEndian.PutUint32(raw[4:], mask)
		if name != "" {
			name += strings.Repeat("\x00", 16-len(name))
		}
		binary.NativeEndian.PutUint32(raw[12:], uint32(len(name)))
		return append(raw, name...)
	}
	for _, tt := range []struct {
		events         []byte
		changed, named bool
	}{
		{nil, false, false},
		{event(1, unix.IN_CREATE, "log"), true, true},
		{event(1, unix.IN_CREATE, "other"), true, false},
		{event(2, unix.IN_DELETE, "log"), true, false},
		{event(3, unix.IN_ATTRIB, ""), true, true},
		{append(event(1, unix.IN_DELETE, "log2"), event(1, unix.IN_MOVED_TO, "log")...), true, true},
		{event(-1, unix.IN_Q_OVERFLOW, ""), true, true},
		{event(1, unix.IN_IGNORED, ""), false, false},
		{append(event(3, unix.IN_DELETE_SELF, ""), event(3, unix.IN_IGNORED, "")...), true, true},
		{event(4, unix.IN_UNMOUNT, ""), true, false},
		{event(1, unix.IN_CREATE, "log")[:15], false, false},
	} {
		k := &keeper{watched: []watched{{1, "log", true}, {2, "log", false}, {3, "", true}}}
		if k.noteEvents(tt.events); k.changed != tt.changed || k.named != tt.named {
			t.Errorf("%q: changed %v, named %v", tt.events, k.changed, k.named)
		}
	}
}

// Repairs without end need neither sockets nor descriptors without end, and the
// socket that /dev/log leads to stays.
func TestAdoptIsBounded(t *testing.T) {
	b := newBox(t, "nothing")
	r, said := keeping(b)
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		b.must(err)
		return len(list)
	}
	run := &repair{number: 1}
	hand := func(i int, in string) {
		s, err := newSocket(unix.SOCK_DGRAM)
		b.must(err)
		b.must(os.MkdirAll(in, 0o755))
		name := filepath.Join(in, fmt.Sprint("s", i))
		b.must(unix.Bind(s, &unix.SockaddrUnix{Name: name}))
		dir, err := unix.Open(in, unix.O_PATH|unix.O_CLOEXEC, 0)
		b.must(err)
		up, err := unix.Open(filepath.Dir(in), unix.O_PATH|unix.O_CLOEXEC, 0)
		b.must(err)
		b.must(r.adopt([]handover.File{
			{FD: s, Name: handover.NameSocket}, {FD: dir, Name: handover.NameUnlink + filepath.Base(name)},
			{FD: up, Name: handover.NameRmdir + filepath.Base(in)},
		}, run))
	}
	in := filepath.Dir(b.sock)
	hand(0, in)
	b.must(relink(b.root, "../run/devlog/s0"))
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
	if n := len(r.sockets); n != maxSockets || !slices.ContainsFunc(r.sockets, func(s *socket) bool { return s.at != nil && s.at.name == "s0" }) {
		t.Errorf("%d sockets", n)
	}
	if r.inspect() != right || len(said.lines) > 0 {
		t.Errorf("not right: %q", said.lines)
	}
	if len(r.places) > maxPlaces {
		t.Errorf("%d places", len(r.places))
	}
	// What is handed over and is of no use is closed.
	before = count()
	null := func() int {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		b.must(err)
		return fd
	}
	b.must(r.adopt([]handover.File{{FD: null(), Name: handover.NameInit}, {FD: null(), Name: handover.NameRoot}}, run))
	if err := r.adopt([]handover.File{{FD: null(), Name: handover.NameSocket}, {FD: null(), Name: handover.NameUnlink + "a/b"}}, run); err == nil {
		t.Error("took what is no socket")
	}
	if after := count(); after > before { // other tests' files may go meanwhile
		t.Errorf("%d descriptors, then %d", before, after)
	}
}

// A command of the container's own is not executed in place of the one that was
// there before pivot_root(2).
func TestAnotherRoot(t *testing.T) {
	b := newBox(t, "link")
	r, said := keeping(b)
	r.keeper.slash.Ino++
	b.must(os.Remove(b.dev))
	r.look(time.Now())
	if r.keeper.run != nil || b.runs() > 0 || len(said.lines) != 1 || !strings.HasSuffix(said.lines[0], ": it was in another root directory\n") {
		t.Errorf("%d runs, %q", b.runs(), said.lines)
	}
}

// What changes before the keeper begins to watch is seen when it does.
func TestChangedBeforeWatching(t *testing.T) {
	for _, changed := range []bool{false, true} {
		b := newBox(t, "link")
		r, _ := starting(b)
		k := r.keeper
		k.text = "target" // as of a keeper without a socket
		begin := k.next()
		if wait := time.Until(begin); k.inotify >= 0 || wait <= 0 || wait > watchDelay {
			t.Errorf("watches %t, from %v on", k.inotify >= 0, wait)
		}
		b.must(os.Symlink("target", b.dev+".new"))
		b.must(os.Rename(b.dev+".new", b.dev))
		if changed {
			b.must(os.Remove(b.dev))
		}
		r.stepKeeper(begin.Add(-1))
		if k.inotify >= 0 || !k.lookAt.IsZero() {
			t.Error("too early")
		}
		r.stepKeeper(begin)
		if k.inotify < 0 || k.lookAt.IsZero() == changed {
			t.Errorf("changed %t: it looks at %v", changed, k.lookAt)
		}
	}
}

func TestNoWatches(t *testing.T) {
	b := newBox(t, "nothing")
	r, said := keeping(b)
	for range 2 {
		r.cannotWatch(unix.EMFILE)
	}
	r.cannotWatch(unix.ENOSPC)
	if len(said.lines) != 2 || !strings.Contains(said.lines[0], "fs.inotify.max_user_instances") {
		t.Errorf("%q", said.lines)
	}
}

// A message of a keeper's own that nobody takes is not one that was told.
func TestTold(t *testing.T) {
	b := newBox(t, "")
	r := newReceiver(&options{name: "box"}, nil)
	r.keeper = &keeper{root: openDir(t, b.root)}
	r.say(syslog.Notice, "nobody listens")
	b.listen()
	r.say(syslog.Notice, "somebody does")
	if r.own != 2 || r.told != 1 || r.unrouted != 1 {
		t.Errorf("own %d, told %d, unrouted %d", r.own, r.told, r.unrouted)
	}
}

// meddler changes /dev/log as soon as the receiver says something.
type meddler struct {
	sink
	b *box
}

func (m *meddler) Add(output.Message) { m.b.must(relink(m.b.root, "/nowhere")) }

// What somebody changes while a failed repair is dealt with is not taken for what
// the repair has taken back.
func TestChangeBesideFailure(t *testing.T) {
	b := newBox(t, "link")
	r, _ := keeping(b)
	k := r.keeper
	b.must(os.Remove(b.dev))
	k.readEvents()
	k.lookAt, k.retries, k.run = time.Time{}, maxRetries, &repair{pidfd: -1, stderr: -1, pair: -1, before: k.devLog()}
	r.routes[0].out = &meddler{b: b}
	if r.afterRun(time.Now(), errors.New("it fails")); k.lookAt.IsZero() {
		t.Error("the change is not looked at")
	}
}

// A keeper says what is wrong in the kernel's log while the daemon is down that it
// would say it to.
func TestKeeperTellsKernel(t *testing.T) {
	said := hearKernel(t)
	b := newBox(t, "link")
	r, _ := keeping(b)
	r.routes = nil
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
