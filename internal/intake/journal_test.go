package intake

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
	"devlog/internal/syslogconf"
)

// entries has the intake receive entries of the journal, and returns a socket that sends them.
func (b *bench) entries() int {
	b.Helper()
	s, err := Listen(b.dir+"/entries", unix.SOCK_DGRAM, false)
	b.must(err)
	s.Journal = true
	b.must(b.Add(s))
	return b.dial(s.Path, unix.SOCK_DGRAM)
}

// turn has the intake read what there is.
func (b *bench) turn() {
	b.Helper()
	for _, s := range b.sockets {
		if s.Stream {
			b.accept(s, maxAccepts)
		} else {
			b.must(b.receive(s, maxBatches))
		}
	}
	for _, c := range b.streams.open {
		b.read(c)
	}
}

// pass sends a datagram with files.
func (b *bench) pass(fd int, text string, files ...int) {
	b.Helper()
	b.must(unix.Sendmsg(fd, []byte(text), unix.UnixRights(files...), nil, 0))
	b.turn()
}

// inMemory is a file in memory with that content and those seals.
func (b *bench) inMemory(content string, seals int) int {
	b.Helper()
	fd, err := unix.MemfdCreate("entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	b.must(err)
	b.Cleanup(func() { _ = unix.Close(fd) })
	_, err = unix.Write(fd, []byte(content))
	b.must(err)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	b.must(err)
	return fd
}

func TestEntries(t *testing.T) {
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	b := newBench(t, "", syslogconf.Block)
	fd := b.entries()
	open := filetest.Open(b)
	b.send(fd, "MESSAGE=one\nSYSLOG_IDENTIFIER=a\n", "MESSAGE=two\nSYSLOG_IDENTIFIER=a\n\nMESSAGE=three\nSYSLOG_IDENTIFIER=a", "MESSAGE")
	b.turn()
	sealed := b.inMemory("MESSAGE=sealed\nSYSLOG_IDENTIFIER=a\n", seals)
	file, err := os.Open("/dev/null")
	b.must(err)
	defer file.Close()
	for _, wrong := range []struct {
		text  string
		files []int
	}{
		{"", []int{b.inMemory("MESSAGE=open\n", unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)}},
		{"", []int{b.inMemory("MESSAGE=large\nA="+strings.Repeat("x", 1<<20), seals)}},
		{"", []int{int(file.Fd())}},
		{"", []int{sealed, sealed}},
		{"", []int{sealed, sealed, sealed, sealed, sealed}},
		{"MESSAGE=both\n", []int{sealed}},
	} {
		b.pass(fd, wrong.text, wrong.files...)
	}
	b.pass(fd, "", sealed)
	b.pass(fd, "MESSAGE=last\n")
	command, err := os.ReadFile("/proc/self/comm")
	b.must(err)
	want := []string{"a: one", "a: two", "a: three", "a: sealed", strings.TrimSpace(string(command)) + ": last"}
	if !slices.Equal(b.got.texts, want) || b.Wrong != 7 || b.Received != 5 {
		t.Errorf("%q, wrong %d, received %d; want %q", b.got.texts, b.Wrong, b.Received, want)
	}
	if n := filetest.Open(b); n != open+4 { // three files of this test, and its null device
		t.Errorf("%d descriptors, %d before", n, open)
	}
	for _, from := range b.got.senders {
		if !from.Known || int(from.PID) != os.Getpid() {
			t.Errorf("sent by %+v", from)
		}
	}
}

// A standard output's lines are messages, also those of a connection of another process.
func TestStdout(t *testing.T) {
	b := newBench(t, "", syslogconf.Block)
	s, err := Listen(b.dir+"/stdout", unix.SOCK_STREAM, false)
	b.must(err)
	s.Journal = true
	b.must(b.Add(s))
	fd := b.dial(s.Path, unix.SOCK_STREAM)
	for _, part := range []string{"app\n\n30\n", "1\n0\n0\n0\nfirst\n<3>sec", "ond\n\nthi"} {
		b.send(fd, part)
		b.turn()
	}
	state := b.State()
	if len(state) != 1 || string(state[0].Head) != "app\n\n30\n1\n0\n0\n0\n" || string(state[0].Rest) != "thi" {
		t.Errorf("state %+v", state)
	}
	b.streams.open, b.streams.newest, b.streams.oldest = map[int]*connection{}, nil, nil
	b.must(b.loop.Remove(state[0].FD))
	b.must(b.Resume(state))
	b.send(fd, "rd\n")
	b.turn()
	wrong := b.dial(s.Path, unix.SOCK_STREAM)
	b.send(wrong, strings.Repeat("x", 5000))
	b.turn()
	b.turn()
	if want := []string{"app: first", "app: second", "app: third"}; !slices.Equal(b.got.texts, want) || b.Wrong != 1 {
		t.Errorf("%q, wrong %d; want %q", b.got.texts, b.Wrong, want)
	}
}
