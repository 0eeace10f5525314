package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nulls returns open files to pass, all with low descriptors.
func nulls(t *testing.T, n int) []Passed {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var list []Passed
	for i := range n {
		list = append(list, Passed{File: f, Name: fmt.Sprint("null", i)})
	}
	return list
}

// The image of a sealed receiver is not in the way of the files, however many
// there are and whatever their descriptors.
func TestStartWithManyFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 29, 30, 31, 45, 60, 61, 62, maxFiles} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pid, err := Start(Spec{
			Path: self, Sealed: true, Env: []string{"DAEMON_TEST=count"}, Timeout: 20 * time.Second,
			Files: append(nulls(t, n-1), Passed{File: w, Name: "out"}),
		})
		w.Close()
		if err != nil {
			t.Fatalf("%d files: %v", n, err)
		}
		said, err := io.ReadAll(r)
		if want := fmt.Sprint(n+1, " files"); err != nil || string(said) != want {
			t.Errorf("%q, %v, want %s", said, err, want)
		}
		r.Close()
		if _, err := unix.Wait4(pid, nil, 0, nil); err != nil {
			t.Errorf("wait for the receiver: %v", err)
		}
	}
	_, err = Start(Spec{Path: self, Files: nulls(t, maxFiles+1), Timeout: time.Second})
	if err == nil || !strings.Contains(err.Error(), "201 files to pass, and 200 at most can be") {
		t.Errorf("too many files: %v", err)
	}
}

func TestHandover(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	if _, err := ReceiveFiles(pair[1]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("nothing sent: %v", err)
	}
	for _, n := range []int{1, 33, maxFiles} {
		if err := SendFiles(pair[0], nulls(t, n)); err != nil {
			t.Fatalf("%d files: %v", n, err)
		}
		files, err := ReceiveFiles(pair[1])
		if err != nil || len(files) != n || files[n-1].Name != fmt.Sprint("null", n-1) {
			t.Errorf("%d files: got %v, %v", n, files, err)
		}
		for _, f := range files {
			unix.Close(f.FD)
		}
	}
	long := nulls(t, 1)
	long[0].Name = strings.Repeat("x", maxNames+1)
	for want, files := range map[string][]Passed{"hand over 201 files": nulls(t, maxFiles+1), "16385 bytes": long} {
		if err := SendFiles(pair[0], files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// More than there is room for is an error, and leaves nothing open.
	before := fdCount(t)
	if err := unix.Sendmsg(pair[0], []byte(long[0].Name), unix.UnixRights(0, 1), nil, 0); err != nil {
		t.Fatal(err)
	}
	if files, err := ReceiveFiles(pair[1]); err == nil || files != nil {
		t.Errorf("got %v, %v", files, err)
	}
	if after := fdCount(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	unix.Close(pair[0])
	if files, err := ReceiveFiles(pair[1]); err != nil || files != nil {
		t.Errorf("at the end: %v, %v", files, err)
	}
}

func fdCount(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
