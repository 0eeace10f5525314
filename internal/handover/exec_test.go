package handover

import (
	"errors"
	"os"
	"strings"
	"testing"

	"devlog/internal/earlysignal"

	"golang.org/x/sys/unix"
)

func TestStateFile(t *testing.T) {
	for _, want := range []string{"", "text", strings.Repeat("x", 1<<20)} {
		f, err := StateFile([]byte(want))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // whatever the offset
			if got, err := ReadState(int(f.Fd())); err != nil || string(got) != want {
				t.Errorf("%d bytes: got %d, %v", len(want), len(got), err)
			}
		}
		if _, err := f.WriteAt([]byte("y"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("it can be written: %v", err)
		}
		f.Close()
	}
}

func TestReadStateFails(t *testing.T) {
	plain, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	fd, err := unix.MemfdCreate("unsealed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for name, fd := range map[string]int{"a plain file": int(plain.Fd()), "one that can be changed": fd, "none": 1 << 20} {
		if data, err := ReadState(fd); err == nil {
			t.Errorf("%s: %q", name, data)
		}
	}
}

func TestInheritedStateOfNobody(t *testing.T) {
	if data, found, err := InheritedState(); data != nil || found || err != nil {
		t.Errorf("without one: %q, %v, %v", data, found, err)
	}
	for value, want := range map[string]bool{"": false, "x": false, "0": false, "-1": false, "1000000": true} {
		t.Setenv(earlysignal.StateVariable, value)
		if data, found, err := InheritedState(); err == nil || found != want {
			t.Errorf("%s=%s: %q, %v", earlysignal.StateVariable, value, data, found)
		}
		if v, ok := os.LookupEnv(earlysignal.StateVariable); ok {
			t.Errorf("%s=%s is left for children to find", earlysignal.StateVariable, v)
		}
	}
}

// openFD opens a file for a test.
func openFD(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// An exec that fails leaves everything as it was.
func TestExecFails(t *testing.T) {
	state, err := StateFile([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	kept, other, image := openFD(t), openFD(t), openFD(t)
	for _, keep := range [][]int{{kept}, {kept, 1 << 20}} {
		err := Exec(image, []string{"x"}, nil, state, keep, func() error { return nil })
		if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EBADF) {
			t.Errorf("%v: %v", keep, err)
		}
		for _, fd := range []int{kept, other, int(state.Fd())} {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d has flags %d, %v", fd, flags, err)
			}
		}
	}
}
