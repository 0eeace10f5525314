package handover

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// A description gets its files back from whoever keeps them, each with its own descriptor, except
// for those that are not kept.
func TestStore(t *testing.T) {
	_, fds := leftFiles(t)
	d := NewDescription()
	d.Files = Files{Init: fds[4], Root: fds[5]}
	d.Cleanups = []*Cleanup{{Dir: fds[0], Name: "a"}, {Dir: fds[0], Name: "b", Flags: 1}}
	d.Sockets = []*Socket{{FD: fds[1], Cleanup: -1}, {FD: fds[3], Cleanup: 1}}
	kept := map[string]int{}
	files, err := d.Store(func(name string, fd int) error {
		kept[name] = fd
		return nil
	})
	if err != nil || len(files) != 5 || len(kept) != 5 || d.Cleanups[0].Dir != d.Cleanups[1].Dir {
		t.Fatalf("%v, %v, %v", err, files, kept)
	}
	for name, fd := range kept {
		if fd == fds[1] || fd == fds[5] {
			delete(kept, name)
		}
	}
	if err := d.Unstore(files, kept); err != nil {
		t.Fatal(err)
	}
	defer file.CloseAll(d.Descriptors())
	if d.Settle(); len(d.Sockets) != 1 || d.Sockets[0].Cleanup != 1 || len(d.Cleanups) != 2 || d.Cleanups[0].Dir == d.Cleanups[1].Dir ||
		d.Files.Init < 0 || d.Files.Root != -1 {
		t.Errorf("%s", d.Format())
	}
	full := errors.New("full")
	if _, err := d.Store(func(string, int) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	odd := NewDescription()
	odd.Files = Files{Init: 7, Root: 0}
	if err := odd.Unstore([]string{"gone"}, nil); err != nil || odd.Files != (Files{-1, -1}) {
		t.Errorf("%v, %+v", err, odd.Files)
	}
	odd.Files.Init = 0
	if err := odd.Unstore([]string{"closed"}, map[string]int{"closed": 1 << 20}); !errors.Is(err, unix.EBADF) {
		t.Errorf("%v", err)
	}
}
