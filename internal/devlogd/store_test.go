package devlogd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"devlog/internal/confine"
	"devlog/internal/eventloop"
	"devlog/internal/file"
	"devlog/internal/handover"
	"devlog/internal/intake"
	"devlog/internal/receiver"
	"devlog/internal/sandbox"
	"devlog/internal/syslog"
	"devlog/internal/syslogconf"
)

// freshStore returns a store that no service manager holds.
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

// optionsFor returns options of a receiver that writes to the file and is not confined.
func optionsFor(file string) *options {
	return &options{receiver: receiver.Config{Name: "box"}, rules: rules{texts: []string{"*.* -" + file + ";sender"}}, confine: confine.Options{Mode: sandbox.Off}}
}

// withStore is a program with that store, whose receiver writes to the file.
func withStore(t *testing.T, s *store, file string) *program {
	t.Helper()
	p, err := newProgram(optionsFor(file), nil, s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.receiver.OpenOutputs(nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// receives has the program's receiver use the sockets and names.
func (p *program) receives(t *testing.T, files ...handover.File) {
	t.Helper()
	d, err := handover.Describe(files)
	if err == nil {
		err = p.receiver.Take(d)
	}
	if err == nil {
		err = p.receiver.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dropped takes messages and does nothing with them.
type dropped struct{}

func (dropped) Take([]byte, bool, syslog.Sender, time.Time) {}
func (dropped) TakeEntry(*syslog.Message, time.Time)        {}
func (dropped) Done()                                       {}
func (dropped) Failed(error)                                {}
func (dropped) Busy(time.Time) (until time.Time)            { return until }
func (dropped) Say(syslog.Severity, string)                 {}
func (dropped) Flush(time.Time)                             {}

// readOnly reads what is queued at the socket into the program's memory, and does nothing
// more: the program was killed there.
func (p *program) readOnly(t *testing.T, fd int) {
	t.Helper()
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	i := intake.New(loop, p.memory, dropped{}, syslogconf.Rate{}, syslogconf.Block)
	err = i.Add(&intake.Socket{FD: fd})
	if i.AskSenders(); err == nil {
		err = loop.RunOnce()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// unwritten puts a message into slot i of the program's memory, as the kernel does.
func unwritten(p *program, i int, text string) {
	m := p.store.Memory
	header := m[headersAt+i*int(unsafe.Sizeof(struct {
		unix.Msghdr
		length uint32
	}{})):]
	*(*uint32)(unsafe.Pointer(&header[unsafe.Sizeof(unix.Msghdr{})])) = uint32(copy(m[slotsAt+i*(64<<10):], text))
}

// The next program writes, once, what was received and not written, whatever the messages are.
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
	killed.receives(t, handover.File{FD: fd, Name: handover.NameSocket})
	send("<14>test: written")
	if err := killed.loop.RunOnce(); err != nil {
		t.Fatal(err)
	}
	send("<14>test: first", "<14>test: "+strings.Repeat("x", 3*4096), "", "<14>test: last")
	killed.receiver.Flush(time.Now())
	killed.readOnly(t, pair[0])
	second := s.inherit(t)
	p := withStore(t, second, file)
	if n := p.memory.Unwritten(); n != 4 {
		t.Fatalf("%d messages are left, want 4", n)
	}
	second.Head.Pending = 7
	p.replay()
	p.sayRestarted()
	p.receiver.Flush(time.Now())
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

// Messages that kill the receiver again and again are given up and counted.
func TestStoreGivesUp(t *testing.T) {
	s := freshStore(t)
	file := filepath.Join(t.TempDir(), "messages")
	p := withStore(t, s, file)
	for i := range 2 {
		unwritten(p, i, "<14>test: x")
	}
	s.Head.Replays = maxReplays
	next := withStore(t, s.inherit(t), file)
	next.replay()
	next.sayRestarted()
	next.receiver.Flush(time.Now())
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte("2 messages lost (killed")) || bytes.Contains(text, []byte("test: x")) {
		t.Errorf("%v:\n%s", err, text)
	}
	if n := next.memory.Unwritten(); n != 0 || next.store.Head.Replays != 0 {
		t.Errorf("%d messages are left, tried %d times", n, next.store.Head.Replays)
	}
}

// A restarted receiver first writes what its predecessor had received, and confines itself
// again: the sandbox belonged to the killed process.
func TestStoreBegins(t *testing.T) {
	s := freshStore(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "messages")
	killed := withStore(t, s, file)
	sock, err := intake.Listen(filepath.Join(dir, "log"), unix.SOCK_DGRAM, false)
	if err != nil {
		t.Fatal(err)
	}
	killed.receives(t, handover.File{FD: sock.FD, Name: handover.NameSocket})
	killed.sandbox = &handover.Confinement{Mark: 1 << 20, Landlock: true}
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
	o := optionsFor(file)
	p, err := newProgram(o, resumed, next, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	ready := 0
	if err := p.begin(o, nil, resumed, true, func() error { ready++; return nil }); err != nil {
		t.Fatal(err)
	}
	if ready != 1 || p.sandbox == nil || p.sandbox.Landlock {
		t.Errorf("told %d times that it is ready, confined %+v", ready, p.sandbox)
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.Count(text, []byte("test: unwritten")) != 2 ||
		!bytes.Contains(text, []byte("the 2 messages before this may appear twice; 3 messages lost")) {
		t.Errorf("%v:\n%s", err, text)
	}
}

// A receiver that cannot tell the service manager everything does not report that it is ready.
func TestReadyInOrder(t *testing.T) {
	dir := t.TempDir()
	o := optionsFor(filepath.Join(dir, "m"))
	o.ready, o.receiver.Listen = 1<<20, []receiver.Listen{{Path: filepath.Join(dir, "log"), Kind: unix.SOCK_DGRAM}}
	p, err := newProgram(o, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	ready := false
	if err := p.begin(o, nil, nil, true, func() error { ready = true; return nil }); err == nil || ready {
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

// Changes are described again. A failure is reported once, and tried again.
func TestStoreDescribes(t *testing.T) {
	s := freshStore(t)
	dir := t.TempDir()
	log := filepath.Join(dir, "messages")
	p := withStore(t, s, log)
	defer p.close()
	var given []int // sockets
	take := func() {
		t.Helper()
		name := fmt.Sprint("s", len(given))
		sock, err := intake.Listen(filepath.Join(dir, name), unix.SOCK_DGRAM, false)
		if err != nil {
			t.Fatal(err)
		}
		at, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, sock.FD)
		d, err := handover.Describe([]handover.File{{FD: sock.FD, Name: handover.NameSocket}, {FD: at, Name: handover.NameUnlink + name}})
		if err == nil {
			err = p.receiver.Take(d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	take()
	if p.stepStore(); !s.seen.Is(p.receiver) {
		t.Error("the socket is not described")
	}
	for range 2 {
		t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "absent"))
		take()
		for range 3 {
			p.stepStore()
			s.retry = time.Now() // is due
		}
		if s.seen.Is(p.receiver) {
			t.Error("it could be described")
		}
		t.Setenv("NOTIFY_SOCKET", "")
		if p.stepStore(); !s.seen.Is(p.receiver) {
			t.Error("it is not described again")
		}
	}
	p.awaits = true
	if p.stepStore(); !s.seenAwaits {
		t.Error("that a signal came is not described")
	}
	p.receiver.Flush(time.Now()) // says the problems
	if text, err := os.ReadFile(log); err != nil || strings.Count(string(text), "could not resume: cannot tell the service manager") != 2 {
		t.Errorf("%q, %v", text, err)
	}
	var files []handover.File
	for _, fd := range given {
		fd, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, handover.File{FD: fd, Name: storedName(t, fd)})
	}
	d, err := s.inherit(t, files...).Restart()
	if err != nil {
		t.Fatal(err)
	}
	d.Settle()
	if len(d.Sockets) != 3 || !d.Awaits || d.Sockets[0].ID == (file.ID{}) {
		t.Errorf("%+v", d.Sockets)
	}
	for _, fd := range d.Descriptors() {
		_ = unix.Close(fd)
	}
}

// An upgrade replaces a store with another version's layout.
func TestStoreOfAnotherVersion(t *testing.T) {
	s := freshStore(t)
	s.Memory[0]++ // its magic
	old, err := unix.Dup(s.FD)
	if err != nil {
		t.Fatal(err)
	}
	d := handover.NewDescription()
	d.Files.Store = old
	p, err := newProgram(optionsFor("/dev/null"), d, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if p.store == nil || p.store.Memory[0] == s.Memory[0] {
		t.Fatalf("%+v", p.store)
	}
	_ = unix.Munmap(p.store.Memory)
	_ = unix.Close(p.store.FD)
	other, err := newProgram(optionsFor("/dev/null"), handover.NewDescription(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	if other.store != nil {
		t.Error("without one there is one")
	}
}
