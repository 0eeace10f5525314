package memfd

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCreate(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for name, want := range map[string]string{"devlogd": "devlogd", long: long[:maxName]} {
		fd, err := Create(name, Data)
		if err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil || to != Prefix+want+" (deleted)" {
			t.Errorf("%s: %s, %v", name, to, err)
		}
		if err := Seal(fd, unix.F_SEAL_WRITE); err != nil {
			t.Error(err)
		}
		if _, err := unix.Write(fd, []byte("x")); !errors.Is(err, unix.EPERM) {
			t.Errorf("a sealed file is written: %v", err)
		}
		_ = unix.Close(fd)
	}
}

// A file that the kernel holds on to is sealed once it lets go.
func TestSealBusy(t *testing.T) {
	fd, err := unix.MemfdCreate("busy", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	used, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != unix.EBUSY { //nolint:errorlint // the system call's own
		t.Fatalf("it is not busy: %v", err)
	}
	released := make(chan error)
	go func() { released <- unix.Munmap(used) }()
	if err := errors.Join(Seal(fd, unix.F_SEAL_WRITE), <-released); err != nil {
		t.Error(err)
	}
	if _, err := unix.Write(fd, []byte("x")); err == nil {
		t.Error("it can be written")
	}
}
