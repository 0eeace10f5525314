package receiver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/daemon"
	"devlog/internal/eventloop"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/names"
	"devlog/internal/sandbox"
	"devlog/internal/syslogconf"
)

// freshStore is a store that no manager has.
func freshStore(t *testing.T) *store {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", "")
	m, err := handover.NewStore(storeLayout)
	if err != nil {
		t.Fatal(err)
	}
	s := &store{Store: m}
	t.Cleanup(func() {
		_ = unix.Munmap(s.Memory)
		_ = unix.Close(s.FD)
	})
	return s
}

// inherit is the store as the program that systemd starts finds it.
func (s *store) inherit(t *testing.T, more ...handover.File) *store {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	files, next, err := openStore(append([]handover.File{{FD: fd, Name: handover.StoreName}}, more...))
	if err != nil || files != nil || next == nil || !next.Restarted {
		t.Fatalf("%v, %+v, %v", files, next, err)
	}
	t.Cleanup(func() {
		_ = unix.Munmap(next.Memory)
		_ = unix.Close(next.FD)
	})
	return next
}

// withStore is a receiver with that store, which writes to the file; ends says
// that it is to be closed with the test.
func withStore(t *testing.T, s *store, file string) *receiver {
	t.Helper()
	r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) {
		return rules(t, "*.* -"+file+";sender"), nil
	})
	r.store = s
	if err := r.prepare(&options{}); err != nil {
		t.Fatal(err)
	}
	if err := r.openOutputs(); err != nil {
		t.Fatal(err)
	}
	return r
}

// unwritten puts a message into slot i of the receiver's memory, as the kernel does.
func unwritten(r *receiver, i int, text string) {
	m := r.store.Memory
	header := m[headersAt+i*int(unsafe.Sizeof(struct {
		unix.Msghdr
		length uint32
	}{})):]
	*(*uint32)(unsafe.Pointer(&header[unsafe.Sizeof(unix.Msghdr{})])) = uint32(copy(m[slotsAt+i*(64<<10):], text))
}

// What was received and not written is written by the next program, whatever it
// is, and once only.
func TestStoreReplays(t *testing.T) {
	s := freshStore(t)
	file := filepath.Join(t.TempDir(), "messages")
	killed := withStore(t, s, file)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(unix.Close(pair[0]), unix.Close(pair[1])) }()
	if err := unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	send := func(texts ...string) {
		for _, text := range texts {
			if err := unix.Sendto(pair[1], []byte(text), 0, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	fd, err := unix.Dup(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.intake.Add(&intake.Socket{FD: fd}); err != nil {
		t.Fatal(err)
	}
	send("<14>test: written")
	if err := killed.loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	send("<14>test: first", "<14>test: "+strings.Repeat("x", 3*4096), "", "<14>test: last")
	killed.Flush(killed.started)
	// Nothing of what it takes is written, or said to be.
	killed.router.Routes, killed.store = nil, nil
	killed.round = eventloop.NewTask(func() {})
	if err := killed.loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	second := s.inherit(t)
	r := withStore(t, second, file)
	if n := r.memory.Unwritten(); n != 4 {
		t.Fatalf("%d messages are left, want 4", n)
	}
	second.Head.Pending = 7
	r.replay()
	r.sayRestarted()
	r.Flush(r.started)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"test: written", "test: first", "test: last", "xxx\n",
		"killed; restarted by systemd; the 4 messages before this may appear twice; 7 messages lost (killed before they could be written)"} {
		if bytes.Count(text, []byte(want)) < 1 || strings.HasPrefix(want, "test") && bytes.Count(text, []byte(want)) != 1 {
			t.Errorf("the file lacks %q, once:\n%.2000s", want, text)
		}
	}
	if n := bytes.Count(text, []byte("\n")); n != 6 {
		t.Errorf("%d lines:\n%.2000s", n, text)
	}
	third := withStore(t, second.inherit(t), file)
	if n := third.memory.Unwritten(); n != 0 || third.store.Head.Restarts != 2 {
		t.Errorf("%d messages are left, %d restarts", n, third.store.Head.Restarts)
	}
	// The big one's memory is given back, once it is written.
	var st unix.Stat_t
	if err := unix.Fstat(s.FD, &st); err != nil || st.Blocks*512 > 2*handover.MaxDescription+64*4096+3*4096 {
		t.Errorf("%d kB are in use, %v", st.Blocks/2, err)
	}
}

// What kills a receiver again and again is given up, and counted.
func TestStoreGivesUp(t *testing.T) {
	s := freshStore(t)
	file := filepath.Join(t.TempDir(), "messages")
	r := withStore(t, s, file)
	for i := range 2 {
		unwritten(r, i, "<14>test: x")
	}
	s.Head.Replays = maxReplays
	next := withStore(t, s.inherit(t), file)
	next.replay()
	next.sayRestarted()
	next.Flush(next.started)
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte("2 messages lost (killed")) || bytes.Contains(text, []byte("test: x")) {
		t.Errorf("%v:\n%s", err, text)
	}
	if n := next.memory.Unwritten(); n != 0 || next.store.Head.Replays != 0 {
		t.Errorf("%d messages are left, tried %d times", n, next.store.Head.Replays)
	}
}

// A receiver that goes on writes what the one before had received before it writes
// or receives anything else, and is confined anew: that was the process's.
func TestStoreBegins(t *testing.T) {
	s := freshStore(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "messages")
	killed := withStore(t, s, file)
	sock, err := intake.Listen(filepath.Join(dir, "log"), unix.SOCK_DGRAM, false)
	if err != nil {
		t.Fatal(err)
	}
	killed.sockets, killed.sandbox = []*socket{{Socket: sock}}, &handover.Confinement{Mark: 1 << 20, Landlock: true}
	killed.stepStore()
	for i := range 2 {
		unwritten(killed, i, "<14>test: unwritten")
	}
	s.Head.Pending = 3
	next := s.inherit(t, handover.File{FD: sock.FD, Name: storedName(t, sock.FD)})
	resumed, err := next.Restart()
	if err != nil {
		t.Fatal(err)
	}
	r := newReceiver(&options{name: "box"}, killed.loadRules)
	defer r.close()
	r.store = next
	if err := r.prepare(&options{}); err != nil {
		t.Fatal(err)
	}
	ready := 0
	if err := r.begin(&options{name: "box", sandbox: sandbox.Off}, nil, resumed, true, func() error { ready++; return nil }); err != nil {
		t.Fatal(err)
	}
	if ready != 1 || r.sandbox == nil || r.sandbox.Landlock {
		t.Errorf("told %d times that it is ready, confined %+v", ready, r.sandbox)
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.Count(text, []byte("test: unwritten")) != 2 ||
		!bytes.Contains(text, []byte("the 2 messages before this may appear twice; 3 messages lost")) {
		t.Errorf("%v:\n%s", err, text)
	}
}

// Who cannot be told everything that is to be told says nothing of being ready.
func TestReadyInOrder(t *testing.T) {
	dir := t.TempDir()
	r := newReceiver(&options{name: "box"}, func() ([]syslogconf.Rule, error) { return rules(t, "*.* -"+filepath.Join(dir, "m")), nil })
	if err := r.prepare(&options{}); err != nil {
		t.Fatal(err)
	}
	defer r.close()
	o := &options{name: "box", sandbox: sandbox.Off, ready: 1 << 20, listen: []listenOption{{filepath.Join(dir, "log"), unix.SOCK_DGRAM}}}
	ready := false
	if err := r.begin(o, nil, nil, true, func() error { ready = true; return nil }); err == nil || ready {
		t.Errorf("%v, said that it is ready: %v", err, ready)
	}
}

// storedName is the name that a supervisor has for an open file.
func storedName(t *testing.T, fd int) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("socket-%x-%d", st.Dev, st.Ino)
}

// What has changed is described again; that it cannot be is said once, and tried again.
func TestStoreDescribes(t *testing.T) {
	s := freshStore(t)
	dir := t.TempDir()
	r := withStore(t, s, filepath.Join(dir, "messages"))
	for _, name := range []string{"a", "b"} {
		sock, err := intake.Listen(filepath.Join(dir, name), unix.SOCK_DGRAM, false)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(sock.FD)
		r.sockets = append(r.sockets, &socket{Socket: sock})
	}
	at := &cleanup{dir: int(openDir(t, dir).Fd()), name: "a", id: r.sockets[0].ID}
	r.cleanups, r.sockets[0].at = []*cleanup{at}, at
	r.stepStore()
	if problem := r.router.Problem(); problem != nil || !s.seen.is(r) {
		t.Errorf("%v", problem)
	}
	for range 2 {
		t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "absent"))
		r.sockets = r.sockets[:1]
		for range 3 {
			r.stepStore()
			s.retry = time.Now() // is due
		}
		if problem := r.router.Problem(); problem == nil || !strings.Contains(problem.Error(), "could not resume: cannot tell the service manager") || s.seen.is(r) {
			t.Errorf("%v", problem)
		}
		t.Setenv("NOTIFY_SOCKET", "")
		r.sockets = r.sockets[:2]
		r.stepStore()
		if problem := r.router.Problem(); problem != nil || !s.seen.is(r) {
			t.Errorf("%v", problem)
		}
	}
	fd, err := unix.Dup(r.sockets[0].FD)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.inherit(t, handover.File{FD: fd, Name: storedName(t, fd)}).Restart()
	if err != nil {
		t.Fatal(err)
	}
	d.Settle()
	again := newReceiver(&options{name: "box"}, nil)
	again.usePrevious(d.PreviousIDs)
	in, err := again.inherit(d)
	if err != nil || len(in.sockets) != 1 || in.sockets[0].ID != r.sockets[0].ID || len(again.previousIDs) != 0 {
		t.Errorf("%+v, %v, it was %v", in, err, again.previousIDs)
	}
	for _, fd := range d.Descriptors() {
		_ = unix.Close(fd)
	}
}

func TestForgetPrevious(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, names.Record), []byte(`{"receiver": 7, "started": "70"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	known := &receiver{}
	known.usePrevious([]string{"6/60", "7/70", "8/80", "x"})
	list := known.previousIDs
	r := &receiver{previousIDs: slices.Clone(list), cleanups: []*cleanup{{dir: int(openDir(t, dir).Fd()), name: names.Record}}}
	if r.forgetPrevious(); !slices.Equal(r.previousIDs, list[1:2]) || !r.notedIn(r.cleanups[0].dir) {
		t.Errorf("%v of %v", r.previousIDs, list)
	}
	r = &receiver{previousIDs: slices.Clone(list)}
	if r.forgetPrevious(); !slices.Equal(r.previousIDs, list[:1]) {
		t.Errorf("without a record: %v", r.previousIDs)
	}
}

// A store that another version has laid out in its own way is replaced by an upgrade.
func TestStoreOfAnotherVersion(t *testing.T) {
	s := freshStore(t)
	s.Memory[0]++ // its magic
	old, err := unix.Dup(s.FD)
	if err != nil {
		t.Fatal(err)
	}
	r := withRoutes(t)
	d := handover.NewDescription()
	d.Files.Store = old
	r.resumeStore(d)
	if r.store == nil || r.store.Memory[0] == s.Memory[0] || r.router.Problem() != nil {
		t.Fatalf("%+v, %v", r.store, r.router.Problem())
	}
	_ = unix.Munmap(r.store.Memory)
	_ = unix.Close(r.store.FD)
	r = withRoutes(t)
	if r.resumeStore(handover.NewDescription()); r.store != nil {
		t.Error("without one there is one")
	}
}

// A service whose store is not its own ends for good: systemd need not try again.
func TestStoreOfAnother(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	d, _ := start(t, []passed{{handover.StoreName, f}}, "--rule", "*.* -/dev/null")
	if code := d.wait(); code != daemon.ExitFinal || d.stderr.Len() == 0 {
		t.Errorf("exit code %d, %q", code, &d.stderr)
	}
}
