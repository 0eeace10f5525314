package file

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// made makes one of everything that can be at a name.
func made(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		os.WriteFile(at("file"), []byte("text"), 0o600),
		os.Symlink("file", at("link")),
		os.Symlink("absent", at("dangling")),
		os.Mkdir(at("dir"), 0o700),
		unix.Mkfifo(at("fifo"), 0o600),
		unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0),
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpen(t *testing.T) {
	dir := made(t)
	for _, tt := range []struct {
		name  string
		flags int
		want  Type
		err   error
	}{
		{"file", unix.O_RDONLY, Regular, nil},
		{"file", unix.O_RDONLY, Any, nil},
		{"link", unix.O_WRONLY, Regular, nil},
		{"new", unix.O_WRONLY | unix.O_CREAT, Regular, nil},
		{"dir", unix.O_RDONLY, Regular, ErrType},
		{"dir", unix.O_WRONLY, Regular, unix.EISDIR},
		{"fifo", unix.O_RDONLY, Regular, ErrType}, // each of these would wait for the other end
		{"fifo", unix.O_WRONLY, Regular, ErrType},
		{"fifo", unix.O_RDWR, FIFO, nil},
		{"socket", unix.O_RDONLY, Regular, ErrType},
		{"/dev/null", unix.O_WRONLY, Regular, ErrType},
		{"/dev/null", unix.O_WRONLY, Device, nil},
		{"file", unix.O_WRONLY, Device, ErrType},
		{"absent", unix.O_RDONLY, Regular, unix.ENOENT},
	} {
		path := tt.name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		fd, err := Open(path, tt.flags, 0o600, tt.want)
		wantOpened(t, tt.name, fd, err, tt.err)
	}
}

func wantOpened(t *testing.T, name string, fd int, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: got %v, want %v", name, err, want)
	}
	if err != nil {
		return
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("%s: flags %#x, %v: it is not closed on exec", name, flags, err)
	}
	if err := unix.Close(fd); err != nil {
		t.Error(err)
	}
}

func TestOpenIn(t *testing.T) {
	path := made(t)
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	const write = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT
	for _, tt := range []struct {
		name  string
		flags int
		want  Type
		err   error
	}{
		{"file", write, Regular, nil},
		{"file", unix.O_RDONLY, Regular, nil},
		{"new", write, Regular, nil},
		{"new", write, Regular, nil},
		{"absent", unix.O_WRONLY, Regular, unix.ENOENT},
		{"link", write, Regular, ErrType},
		{"dangling", write, Regular, ErrType},
		{"dir", write, Regular, ErrType},
		{"fifo", write, Regular, ErrType},
		{"fifo", unix.O_RDWR, FIFO, nil},
		{"socket", write, Regular, ErrType},
	} {
		fd, err := OpenIn(int(dir.Fd()), tt.name, tt.flags, 0o640, tt.want)
		wantOpened(t, tt.name, fd, err, tt.err)
	}
	if info, err := os.Stat(filepath.Join(path, "new")); err != nil || info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("the new file: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(path, "absent")); !os.IsNotExist(err) {
		t.Errorf("the target of a dangling link: %v", err)
	}
}

// If a container has put another file in place of the kernel's log, nothing waits and nothing
// is written.
func TestWriteKernelLog(t *testing.T) {
	dir := made(t)
	for name, want := range map[string]error{"fifo": ErrType, "file": ErrType, "absent": unix.ENOENT} {
		if err := WriteKernelLog(filepath.Join(dir, name), []byte("x")); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "text" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if err := WriteKernelLog("/dev/null", []byte("x")); !errors.Is(err, ErrType) {
		t.Errorf("another device: %v", err)
	}
}

// In place of /dev/null there may be something else too.
func TestOpenNull(t *testing.T) {
	f, err := OpenNull()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	dir := made(t)
	for _, path := range []string{filepath.Join(dir, "file"), filepath.Join(dir, "fifo"), "/dev/zero"} {
		if fd, err := openDevice(path, null, unix.O_RDWR); !errors.Is(err, ErrType) {
			t.Errorf("%s: %d, %v", path, fd, err)
		}
	}
}

func TestRead(t *testing.T) {
	dir := made(t)
	for _, tt := range []struct {
		name  string
		limit int64
		want  string // the text, or what the error says
	}{
		{"file", 4, "text"},
		{"link", 100, "text"},
		{"file", 3, "file has more than 3 bytes"},
		{"dir", 100, "dir is not a regular file"},
		{"fifo", 100, "fifo is not a regular file"},
		{"absent", 100, "absent: no such file or directory"},
	} {
		data, err := Read(filepath.Join(dir, tt.name), tt.limit)
		if got := string(data); err == nil && got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		if err != nil && !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// A handle is one of what is wanted only.
func TestHold(t *testing.T) {
	dir := made(t)
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	for _, tt := range []struct {
		name   string
		want   Type
		err    error // of Hold
		errIn  error // of HoldIn
		device error // of holdDevice
	}{
		{"file", Regular, nil, nil, ErrType},
		{"link", Regular, nil, ErrType, ErrType},
		{"dir", Regular, ErrType, ErrType, ErrType},
		{"dir", Directory, nil, nil, ErrType},
		{"fifo", FIFO, nil, nil, ErrType},
		{"socket", Device, ErrType, ErrType, ErrType},
		{"absent", Regular, unix.ENOENT, unix.ENOENT, unix.ENOENT},
	} {
		path := filepath.Join(dir, tt.name)
		fd, err := Hold(path, tt.want)
		wantOpened(t, tt.name, fd, err, tt.err)
		fd, err = HoldIn(int(at.Fd()), tt.name, tt.want)
		wantOpened(t, tt.name, fd, err, tt.errIn)
		fd, err = holdDevice(path, null)
		wantOpened(t, tt.name, fd, err, tt.device)
	}
	fd, err := HoldNull()
	wantOpened(t, "null", fd, err, nil)
	fd, err = HoldKernelLog("/dev/null")
	wantOpened(t, "another device", fd, err, ErrType)
}

func TestNamed(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(dir+"/a", nil, 0o600), os.Link(dir+"/a", dir+"/b"), os.Symlink("a", dir+"/l")); err != nil {
		t.Fatal(err)
	}
	a, kind := Named(unix.AT_FDCWD, dir+"/a")
	if b, _ := Named(unix.AT_FDCWD, dir+"/b"); a != b || a == (ID{}) || kind != unix.S_IFREG {
		t.Errorf("one file is %v, a %#o, and %v", a, kind, b)
	}
	if l, kind := Named(unix.AT_FDCWD, dir+"/l"); l == a || kind != unix.S_IFLNK {
		t.Errorf("the link is %v, a %#o", l, kind)
	}
	if none, kind := Named(unix.AT_FDCWD, dir+"/none"); none != (ID{}) || kind != 0 {
		t.Errorf("nothing is %v, a %#o", none, kind)
	}
}
