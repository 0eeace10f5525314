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

func TestInherit(t *testing.T) {
	if d, err := Inherit(); d != nil || err != nil {
		t.Errorf("without one: %+v, %v", d, err)
	}
	for _, value := range []string{"", "x", "0", "-1"} {
		t.Setenv(earlysignal.StateVariable, value)
		if d, err := Inherit(); err == nil {
			t.Errorf("%s=%s: %+v", earlysignal.StateVariable, value, d)
		}
		if v, ok := os.LookupEnv(earlysignal.StateVariable); ok {
			t.Errorf("%s=%s is left for children to find", earlysignal.StateVariable, v)
		}
	}
	t.Setenv(earlysignal.StateVariable, "1000000")
	if d, err := Inherit(); err != nil || d.Unreadable == nil || d.Confinement == nil {
		t.Errorf("%+v, %v", d, err)
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
		err := exec(image, []string{"x"}, nil, state, keep, func() error { return nil })
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
