package handover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
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

func TestHandover(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	if _, err := ReceiveFiles(pair[1]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("nothing sent: %v", err)
	}
	for _, n := range []int{1, 33, MaxFiles} {
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
	for want, files := range map[string][]Passed{"hand over 201 files": nulls(t, MaxFiles+1), "16385 bytes": long} {
		if err := SendFiles(pair[0], files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// More than there is room for is an error, and leaves nothing open.
	before := filetest.Open(t)
	if err := unix.Sendmsg(pair[0], []byte(long[0].Name), unix.UnixRights(0, 1), nil, 0); err != nil {
		t.Fatal(err)
	}
	if files, err := ReceiveFiles(pair[1]); err == nil || files != nil {
		t.Errorf("got %v, %v", files, err)
	}
	if after := filetest.Open(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	unix.Close(pair[0])
	if files, err := ReceiveFiles(pair[1]); err != nil || files != nil {
		t.Errorf("at the end: %v, %v", files, err)
	}
}

// A directory arrives by its path, if it still is the same one, and the socket as it was
// passed.
func TestNames(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	dir := t.TempDir()
	open := func(name string) Passed {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "/"+name)
		t.Cleanup(func() { f.Close() })
		return Passed{File: f, Name: NameUnlink + name}
	}
	at := func(path string) (int, error) {
		return unix.Open(filepath.Join(dir, path), unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	socket := nulls(t, 1)[0]
	socket.Name = NameSocket
	sent := []Passed{socket, open("stays"), open("goes"), open("changes")}
	if err := errors.Join(os.Remove(filepath.Join(dir, "goes")), os.Rename(filepath.Join(dir, "changes"), filepath.Join(dir, "was"))); err != nil {
		t.Fatal(err)
	}
	open("changes")
	before := filetest.Open(t)
	if _, err := ReceiveNames(pair[1], 0, at); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("nothing sent: %v", err)
	}
	for _, list := range [][]Passed{sent, nil} {
		if err := SendNames(pair[0], list); err != nil {
			t.Fatal(err)
		}
		files, err := ReceiveNames(pair[1], int(socket.File.Fd()), at)
		var names []string
		for _, f := range files {
			names = append(names, f.Name)
			unix.Close(f.FD)
		}
		if want := "log unlink/stays"; err != nil || list != nil && strings.Join(names, " ") != want {
			t.Errorf("got %q, %v, want %q", names, err, want)
		}
	}
	if after := filetest.Open(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	// Without descriptors left, no file is left out silently.
	if err := SendNames(pair[0], sent); err != nil {
		t.Fatal(err)
	}
	full := func(string) (int, error) { return -1, unix.EMFILE }
	files, err := ReceiveNames(pair[1], -1, full) // a duplicate of no socket
	if want := "cannot open log of the repair's files: bad file descriptor"; len(files) != 0 || files == nil ||
		!errors.Is(err, unix.EMFILE) || !strings.HasPrefix(err.Error(), want) || strings.Count(err.Error(), "too many open files") != 3 {
		t.Errorf("without descriptors: %v, %v", files, err)
	}
	if err := SendNames(pair[0], nulls(t, MaxFiles+1)); err == nil || !strings.Contains(err.Error(), "hand over 201 files") {
		t.Error(err)
	}
	unix.Close(pair[0])
	if files, err := ReceiveNames(pair[1], 0, at); err != nil || files != nil {
		t.Errorf("at the end: %v, %v", files, err)
	}
}

// For any message, each file in the result has a name and is open, and no other file stays
// open.
func FuzzReceiveNames(f *testing.F) {
	for _, text := range []string{"log\x00/x\x001\x002", "unlink/a\x00/\x00\x00", "a\x00b", "\x00\x00\x00\x00\x00\x00\x00\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[0])
		defer unix.Close(pair[1])
		before := filetest.Open(t)
		if unix.Send(pair[0], text, 0) != nil {
			t.Skip()
		}
		files, err := ReceiveNames(pair[1], 0, func(string) (int, error) { return unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0) })
		for _, f := range files {
			if unix.Close(f.FD) != nil {
				t.Errorf("%q is not open", f.Name)
			}
		}
		if after := filetest.Open(t); err != nil || after != before {
			t.Errorf("%d descriptors before, %d after, %v", before, after, err)
		}
	})
}
