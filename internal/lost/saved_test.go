package lost

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/record"
)

var one = Saved{Init: record.Process{PID: 7, Started: "70"}, Repair: []byte(`{"socket":"/run/x"}`)}

func numbers(t *testing.T, dir string) []uint64 {
	t.Helper()
	list, err := Numbers(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func TestSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "containers")
	if list := numbers(t, dir); list != nil {
		t.Fatalf("%v", list)
	}
	for _, number := range []uint64{7, 12, 13} {
		if err := Save(dir, number, one); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a second time it is missing
		if err := Unsave(dir, 7); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"13": "garbage", "14.new": "{", "notes": "", "18446744073709551615": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := numbers(t, dir); !slices.Equal(got, []uint64{12, 13}) {
		t.Errorf("the numbers are %v", got)
	}
	if s, err := Read(dir, 12); err != nil || !reflect.DeepEqual(s, one) {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Read(dir, 13); err == nil || !strings.Contains(err.Error(), "/13: ") {
		t.Errorf("%v", err)
	}
	if _, err := Read(dir, 7); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := Save("/proc/none", 1, one); err == nil {
		t.Error("saved in /proc")
	}
}

// Whoever may write to the directory has no file of the host's overwritten, and nobody waits for a
// pipe. A directory that others may enter is not used.
func TestSavedOfOthers(t *testing.T) {
	at := t.TempDir()
	dir, host := filepath.Join(at, "containers"), filepath.Join(at, "shadow")
	for _, err := range []error{os.Mkdir(dir, 0o700), os.WriteFile(host, []byte("secret"), 0o600), os.Symlink(host, filepath.Join(dir, "7.new")), os.Symlink("/dev/zero", filepath.Join(dir, "8")),
		unix.Mkfifo(filepath.Join(dir, "9"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := Save(dir, 7, one); err != nil {
		t.Errorf("%v", err)
	}
	if text, err := os.ReadFile(host); err != nil || string(text) != "secret" {
		t.Errorf("the host's file is %q, %v", text, err)
	}
	for _, number := range []uint64{8, 9} {
		done := make(chan error)
		go func() {
			_, err := Read(dir, number)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%d could be read", number)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the reading of %d hangs", number)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, 10, one); !errors.Is(err, unix.EPERM) {
		t.Errorf("%v", err)
	}
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at, dir); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, 10, one); err == nil {
		t.Error("saved by way of a link")
	}
}

func FuzzSaved(f *testing.F) {
	f.Add([]byte(`{"init":{"PID":7,"Started":"70"},"repair":{"socket":"/run/x"}}`))
	f.Add([]byte(`{"repair":[1,{}]}`))
	dir := filepath.Join(f.TempDir(), "containers")
	if err := os.Mkdir(dir, 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, "1"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Read(dir, 1)
		if err != nil {
			return
		}
		if err := Save(dir, 2, s); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if again, err := Read(dir, 2); err != nil || again.Init != s.Init {
			t.Fatalf("%q: %+v, %v", text, again, err)
		}
	})
}

// openIn returns how many files of this process are that directory.
func openIn(t *testing.T, dir string) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if at, err := os.Readlink(fd); err == nil && at == dir { // it may be closed by now
			n++
		}
	}
	return n
}

// A service waits until the processes of an earlier one have ended, which share a lock.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "containers")
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	shared, err := unix.FcntlInt(first.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil { // the reader has it still
		t.Fatal(err)
	}
	var ended atomic.Bool
	done := make(chan error)
	go func() {
		f, err := Lock(dir)
		if !ended.Load() {
			err = errors.Join(err, errors.New("the earlier service has not ended"))
		}
		done <- errors.Join(err, f.Close())
	}()
	for deadline := time.Now().Add(30 * time.Second); openIn(t, dir) < 2; { // until it tries
		if time.Now().After(deadline) {
			t.Fatal("it does not open the directory")
		}
		_, _ = unix.Poll(nil, 1)
	}
	ended.Store(true)
	if err := errors.Join(unix.Close(shared), <-done); err != nil {
		t.Error(err)
	}
}
