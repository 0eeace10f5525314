package dirfd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file/filetest"
)

// A kernel or a filter without openat2(2) is told from other failures; an interrupted
// call is made again.
func TestOpenInRoot(t *testing.T) {
	defer func() { openat2 = unix.Openat2 }()
	root := filetest.Dir(t, t.TempDir())
	for code, want := range map[error]error{unix.ENOSYS: ErrNoOpenat2, unix.EPERM: ErrNoOpenat2, unix.E2BIG: ErrNoOpenat2, unix.ELOOP: unix.ELOOP, unix.EAGAIN: unix.EAGAIN} {
		openat2 = func(int, string, *unix.OpenHow) (int, error) { return -1, code }
		if _, err := OpenInRoot(root, "/", 0); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", code, err, want)
		}
	}
	tries := 0
	openat2 = func(dir int, path string, how *unix.OpenHow) (int, error) {
		if tries++; tries < 3 {
			return -1, []error{unix.EAGAIN, unix.EINTR}[tries-1]
		}
		return unix.Openat2(dir, path, how)
	}
	fd, err := OpenInRoot(root, "/../..", unix.O_DIRECTORY)
	if err != nil || tries != 3 {
		t.Fatalf("%d tries: %v", tries, err)
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &a), unix.Fstat(root, &b), unix.Close(fd)); err != nil || a.Ino != b.Ino {
		t.Errorf("outside the root: inode %d, want %d, %v", a.Ino, b.Ino, err)
	}
}

func TestReadNote(t *testing.T) {
	dir := t.TempDir()
	const limit = 8
	if err := errors.Join(os.Symlink("a note", dir+"/link"), os.WriteFile(dir+"/file", []byte("a file"), 0o600),
		os.WriteFile(dir+"/large", make([]byte, limit+1), 0o600), unix.Mkfifo(dir+"/pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	fd := filetest.Dir(t, dir)
	for name, want := range map[string]string{"link": "a note", "file": "a file", "large": "", "pipe": "", "none": ""} {
		got, err := ReadNote(fd, name, limit)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

// A handle reaches its socket, even if the name now belongs to another.
func TestConnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		err = os.Rename(path, path+"2")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if s, err := Connect(fd, unix.SOCK_DGRAM); err != nil {
		t.Error(err)
	} else {
		_ = unix.Close(s)
	}
	if _, err := Connect(fd, unix.SOCK_STREAM); !errors.Is(err, unix.EPROTOTYPE) {
		t.Errorf("as a stream: %v", err)
	}
	l.Close()
	if _, err := Connect(fd, unix.SOCK_DGRAM); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("without a listener: %v", err)
	}
}
