package reader

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A reader that was taken over cannot make the memory useless for later ones.
func TestKeptStaysUsable(t *testing.T) {
	fd := newBatch(t)
	if _, err := OpenKept(fd); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("sealed: %v", err)
	}
	if err := unix.Ftruncate(fd, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("shortened: %v", err)
	}
	if err := unix.Ftruncate(fd, 2*int64(keptSize)); err != nil {
		t.Errorf("not made longer, as another version may need: %v", err)
	}
	if _, err := OpenKept(fd); err != nil {
		t.Errorf("not usable any more: %v", err)
	}
}
