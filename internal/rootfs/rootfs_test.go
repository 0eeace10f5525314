package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// tree makes files below a temporary directory, "dir/", "link -> text" and
// "file", and opens it as a root. Outside is a directory beside it.
func tree(t *testing.T, entries ...string) (root *Root, dir, outside string) {
	t.Helper()
	base := t.TempDir()
	dir, outside = filepath.Join(base, "root"), filepath.Join(base, "outside")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range entries {
		var err error
		name, text, isLink := cut(e)
		switch full := filepath.Join(dir, name); {
		case isLink:
			err = os.Symlink(text, full)
		case e[len(e)-1] == '/':
			err = os.MkdirAll(full, 0o755)
		default:
			err = os.WriteFile(full, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir, outside
}

func cut(e string) (name, text string, isLink bool) {
	for i := range e {
		if i+4 <= len(e) && e[i:i+4] == " -> " {
			return e[:i], e[i+4:], true
		}
	}
	return e, "", false
}

func TestMkdirAll(t *testing.T) {
	root, dir, outside := tree(t, "run/", "file", "out -> ../outside", "abs -> /run", "dangling -> /nowhere")
	for _, tt := range []struct {
		path, want string // want is where it is in the end
		made       int
		err        error
	}{
		{"/run", "run", 0, nil},
		{"/run/systemd/journal", "run/systemd/journal", 2, nil},
		{"/abs/devlog", "run/devlog", 1, nil},
		{"/out/x", "", 0, unix.ENOTDIR}, // the link dangles inside the root
		{"/dangling/x", "", 0, unix.ENOTDIR},
		{"/file/x", "", 0, unix.ENOTDIR},
		{"/", ".", 0, nil},
	} {
		d, made, err := root.MkdirAll(tt.path)
		if !errors.Is(err, tt.err) {
			t.Errorf("MkdirAll(%s): error %v, want %v", tt.path, err, tt.err)
		}
		if err != nil {
			continue
		}
		want, err := os.Stat(filepath.Join(dir, tt.want))
		if err != nil {
			t.Errorf("MkdirAll(%s): %v", tt.path, err)
			continue
		}
		if got, err := d.File().Stat(); err != nil || !os.SameFile(got, want) {
			t.Errorf("MkdirAll(%s) has opened another directory than %s: %v", tt.path, tt.want, err)
		}
		if len(made) != tt.made {
			t.Errorf("MkdirAll(%s) has made %d directories, want %d", tt.path, len(made), tt.made)
		}
		d.Close()
		RemoveAll(made)
		if _, err := os.Stat(filepath.Join(dir, tt.want)); tt.made > 0 && !os.IsNotExist(err) {
			t.Errorf("RemoveAll has left %s: %v", tt.want, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside the root there is %v (%v)", left, err)
	}
}

func TestBindAndListening(t *testing.T) {
	root, _, _ := tree(t, "run/", "run/file", "run/link -> socket")
	d, err := root.Dir("/run")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, id, err := d.Bind(NewSocket, "socket", Stat{Kind: Absent})
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, live bool, want error) {
		t.Helper()
		l, err := d.Listening(name)
		if err != nil || l.Live != live || !errors.Is(l.Err, want) {
			t.Errorf("Listening(%s) = %+v, %v; want live %t, %v", name, l, err, live, want)
		}
	}
	st, err := d.Lstat("socket")
	if err != nil || st.Kind != Socket || st.ID != id {
		t.Errorf("Lstat = %+v, %v; want a socket with the ID %+v", st, err, id)
	}
	if info, err := os.Stat(d.procPath() + "/socket"); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v; want 0666", info.Mode(), err)
	}
	check("socket", true, nil)
	check("link", false, unix.ECONNREFUSED) // a link is not followed
	check("file", false, unix.ECONNREFUSED)
	check("none", false, unix.ENOENT)
	s.Close()
	check("socket", false, unix.ECONNREFUSED)

	// A stale socket is replaced, and no temporary name is left.
	s, id2, err := d.Bind(NewSocket, "socket", st)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if id2 == id {
		t.Errorf("the stale socket is still there")
	}
	check("socket", true, nil)
	if names, err := os.ReadDir(d.procPath()); err != nil || len(names) != 3 {
		t.Errorf("the directory has %v (%v), want file, link and socket", names, err)
	}

	stream, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream)
	if err := unix.Bind(stream, &unix.SockaddrUnix{Name: d.procPath() + "/stream"}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(stream, 1); err != nil {
		t.Fatal(err)
	}
	check("stream", true, unix.EPROTOTYPE)
}

func TestListener(t *testing.T) {
	for _, tt := range []struct {
		err  error
		live bool
	}{
		{nil, true}, {unix.EPROTOTYPE, true}, {unix.EACCES, true}, {unix.EPERM, true},
		{unix.ECONNREFUSED, false}, {unix.ENOENT, false},
	} {
		if l := listener(tt.err); l.Live != tt.live || !errors.Is(l.Err, tt.err) {
			t.Errorf("listener(%v) = %+v, want live %t", tt.err, l, tt.live)
		}
	}
}

func TestNamesAreNotFollowed(t *testing.T) {
	root, dir, outside := tree(t, "a", "link -> ../outside")
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Symlink("x", "a"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("Symlink over a file: %v, want EEXIST", err)
	}
	if err := d.RenameNew("a", "link"); !errors.Is(err, unix.EEXIST) {
		t.Errorf("RenameNew over a link: %v, want EEXIST", err)
	}
	if err := d.Rmdir("link"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Rmdir of a link: %v, want ENOTDIR", err)
	}
	if err := d.Exchange("a", "link"); err != nil {
		t.Error(err)
	}
	if text, err := os.Readlink(filepath.Join(dir, "a")); err != nil || text != "../outside" {
		t.Errorf("a is %q, %v; want the link", text, err)
	}
	if err := d.Unlink("a"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("the link's target is gone: %v", err)
	}
	if err := d.Rename("link", "b"); err != nil {
		t.Error(err)
	}
}

// Neither a link's target nor a file of another type is opened.
func TestHeldNamesAreNotFollowed(t *testing.T) {
	root, dir, _ := tree(t, "file")
	secret, socket := filepath.Join(t.TempDir(), "secret"), filepath.Join(t.TempDir(), "s")
	fd, err := NewSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(os.WriteFile(secret, []byte("x"), 0o600), unix.Bind(fd, &unix.SockaddrUnix{Name: socket}),
		os.Symlink(secret, filepath.Join(dir, "secret")), os.Symlink(socket, filepath.Join(dir, "socket")), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, name := range []string{"secret", "socket", "fifo"} {
		if text, err := d.ReadFile(name); !errors.Is(err, file.ErrType) {
			t.Errorf("ReadFile of %s: %q, %v, want another type", name, text, err)
		}
		if l, err := d.Listening(name); err != nil || l.Live {
			t.Errorf("Listening of %s: %+v, %v", name, l, err)
		}
		held, st, err := d.Hold(name)
		if err != nil || (st.Kind == Link) != (name != "fifo") {
			t.Errorf("Hold of %s: %+v, %v", name, st, err)
			continue
		}
		held.Close()
	}
}

func TestDirIsADirectory(t *testing.T) {
	root, _, _ := tree(t, "file")
	if _, err := root.Dir("/file"); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Dir of a file: %v, want ENOTDIR", err)
	}
	if _, err := root.Sub("/none"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Sub of nothing: %v, want ENOENT", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Open of nothing: %v, want ENOENT", err)
	}
}

func TestLock(t *testing.T) {
	root, dir, _ := tree(t)
	unlock, err := root.Lock(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Lock(0); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("Lock of a locked root: %v, want EWOULDBLOCK", err)
	}
	unlock()
	unlock, err = other.Lock(0)
	if err != nil {
		t.Fatalf("Lock after unlock: %v", err)
	}
	unlock()
}

// A panic as another user reaches the caller, which can recover it.
func TestAsPanics(t *testing.T) {
	for name, as := range map[string]func(func() error) error{
		"AsSelf": AsSelf, "As": func(f func() error) error { return As(os.Getuid(), os.Getgid()+1, func() error { return AsSelf(f) }) },
	} {
		func() {
			defer func() {
				if reason := recover(); reason != "no luck" && (name == "AsSelf" || os.Getuid() == 0) {
					t.Errorf("%s: caught %v", name, reason)
				}
			}()
			_ = as(func() error { panic("no luck") })
		}()
	}
}

func TestTmpfsOptions(t *testing.T) {
	high := uint32(3_000_000_000)
	if got := tmpfsOptions(int(high), 7); !strings.HasSuffix(got, ",uid=3000000000,gid=7") {
		t.Error(got)
	}
}
