package handover

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var testLayout = Layout{Magic: 7, At: 4096, Size: 4096 + 2*MaxDescription}

// freshStore returns a store that no supervisor holds.
func freshStore(t *testing.T) *Store {
	t.Helper()
	t.Setenv("NOTIFY_SOCKET", "")
	s, err := NewStore(testLayout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Munmap(s.Memory)
		_ = unix.Close(s.FD)
	})
	return s
}

// restart is the store as the program that is started again finds it.
func (s *Store) restart(t *testing.T, more ...File) *Store {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	files, next, err := OpenStore(append([]File{{FD: fd, Name: StoreName}}, more...), testLayout)
	if err != nil || files != nil || next == nil || !next.Restarted {
		t.Fatalf("%v, %+v, %v", files, next, err)
	}
	t.Cleanup(func() {
		_ = unix.Munmap(next.Memory)
		_ = unix.Close(next.FD)
	})
	return next
}

// given is the file as the supervisor gives it back.
func given(t *testing.T, fd int) File {
	t.Helper()
	name, err := StoredName(fd)
	if err != nil {
		t.Fatal(err)
	}
	twin, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return File{FD: twin, Name: name}
}

// A restarted receiver gets its files back, each with its own descriptor, except for those that
// the supervisor does not hold.
func TestStore(t *testing.T) {
	s := freshStore(t)
	_, fds := leftFiles(t)
	describe := func() *Description {
		d := NewDescription()
		d.PreviousIDs, d.Counters["received"], d.Kernel = []string{"7/70"}, 9, &KernelLog{FD: fds[0]}
		d.Files = Files{Init: fds[4], Root: fds[5], Store: s.FD}
		d.Cleanups = []*Cleanup{{Dir: fds[0], Name: "a"}, {Dir: fds[0], Name: "b", Flags: 1}}
		d.Sockets = []*Socket{{FD: fds[1], Cleanup: -1}, {FD: fds[3], Cleanup: 1}}
		return d
	}
	if err := s.Write(describe()); err != nil || len(s.stored) != 6 {
		t.Fatalf("%v, %v", err, s.stored)
	}
	next := s.restart(t, given(t, fds[3]), given(t, fds[0]), given(t, fds[4]))
	d, err := next.Restart()
	if err != nil {
		t.Fatal(err)
	}
	if d.Settle(); len(d.Sockets) != 1 || d.Sockets[0].Cleanup != 1 || len(d.Cleanups) != 2 || d.Cleanups[0].Dir == d.Cleanups[1].Dir || d.Cleanups[1].Flags != 1 ||
		d.Files.Init < 0 || d.Files.Root != -1 || d.Files.Store != -1 || d.Kernel != nil || len(d.Counters) != 0 || len(d.PreviousIDs) != 1 || next.Head.Restarts != 1 {
		t.Errorf("%s", d.Format())
	}
	for _, fd := range d.Descriptors() {
		_ = unix.Close(fd)
	}
	// Each time that the supervisor cannot be told it is an error.
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "absent"))
	if err := s.Write(NewDescription()); err == nil || !strings.Contains(err.Error(), "tell the service manager") || len(s.stored) != 6 {
		t.Errorf("%v, %v", err, s.stored)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := s.Write(NewDescription()); err != nil || len(s.stored) != 1 {
		t.Errorf("%v, %v", err, s.stored)
	}
	large := NewDescription()
	large.Program = strings.Repeat("x", MaxDescription)
	if err := s.Write(large); err == nil || !strings.Contains(err.Error(), "at most can be kept") {
		t.Errorf("%v", err)
	}
}

// An unreadable description of a killed receiver loses no socket.
func TestStoreUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(s *Store){
		"another layout":        func(s *Store) { s.Head.magic++ },
		"no description":        func(s *Store) { s.Head.length = [2]uint64{} },
		"a long description":    func(s *Store) { s.Head.length = [2]uint64{MaxDescription + 1, MaxDescription + 1} },
		"a description garbled": func(s *Store) { copy(s.Memory[s.layout.At:], "x\n\ngarbage"); s.Head.length = [2]uint64{10, 10} },
	} {
		s := freshStore(t)
		spoil(s)
		_, fds := leftFiles(t)
		next := s.restart(t, given(t, fds[3]))
		d, err := next.Restart()
		if err != nil || len(d.Sockets) != 1 || d.Unreadable == nil || strings.Contains(d.Unreadable.Error(), "\n") {
			t.Fatalf("%s: %v, %+v", name, err, d)
		}
		_ = unix.Close(d.Sockets[0].FD)
	}
	// Nor does a store that is gone, or is none.
	t.Setenv(FilesVariable, "/nowhere")
	_, fds := leftFiles(t)
	_, s, err := OpenStore([]File{given(t, fds[3])}, testLayout)
	if err != nil || !s.New() || len(s.files) != 1 {
		t.Fatalf("%v, %+v", err, s)
	}
	small, err := StateFile([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = ReuseStore(int(small.Fd()), testLayout); err != nil || s.unreadable == nil || !strings.Contains(s.unreadable.Error(), "another size") {
		t.Errorf("%v, %+v", err, s)
	}
}
