package rootfs

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
)

// bound makes a socket of that name, and says what it is.
func bound(t *testing.T, d *Dir, name string) Stat {
	t.Helper()
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s) })
	if err := unix.Bind(s, &unix.SockaddrUnix{Name: d.procPath() + "/" + name}); err != nil {
		t.Fatal(err)
	}
	st, err := d.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestBindOfAnother: a daemon that has bound its socket since the name was
// looked at keeps it, with every way to rename.
func TestBindOfAnother(t *testing.T) {
	for _, flags := range []bool{true, false} {
		for _, tt := range []struct {
			name  string
			seen  func(t *testing.T, d *Dir) Stat
			since func(t *testing.T, d *Dir) Stat // what is there in the end
			err   error
		}{
			{"nothing, nothing since", func(*testing.T, *Dir) Stat { return Stat{Kind: Absent} }, nil, nil},
			{"nothing, a daemon since", func(*testing.T, *Dir) Stat { return Stat{Kind: Absent} },
				func(t *testing.T, d *Dir) Stat { return bound(t, d, "log") }, ErrChanged},
			{"a socket, nothing since", func(t *testing.T, d *Dir) Stat { return bound(t, d, "log") }, nil, nil},
			{"a socket, another since", func(t *testing.T, d *Dir) Stat { return bound(t, d, "log") },
				func(t *testing.T, d *Dir) Stat {
					if err := d.Rename("log", "old"); err != nil { // keeps the inode number in use
						t.Fatal(err)
					}
					return bound(t, d, "log")
				}, ErrChanged},
			{"a socket, gone since", func(t *testing.T, d *Dir) Stat { return bound(t, d, "log") },
				func(t *testing.T, d *Dir) Stat {
					if err := d.Unlink("log"); err != nil {
						t.Fatal(err)
					}
					return Stat{Kind: Absent}
				}, ErrChanged},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if !flags {
					renameat2 = func(int, string, int, string, uint) error { return unix.EINVAL }
					defer func() { renameat2 = unix.Renameat2 }()
				}
				root, _, _ := tree(t)
				d, err := root.Dir("/")
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				seen, want := tt.seen(t, d), Stat{}
				if tt.since != nil {
					want = tt.since(t, d)
				}
				s, id, err := d.Bind(NewSocket, "log", seen)
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if err == nil {
					s.Close()
					want = Stat{Kind: Socket, ID: id}
				}
				if st, err := d.Lstat("log"); err != nil || st.Kind != want.Kind || st.ID != want.ID {
					t.Errorf("log is %+v, %v; want %+v", st, err, want)
				}
				noTemporary(t, d)
			})
		}
	}
}

func noTemporary(t *testing.T, d *Dir) {
	t.Helper()
	list, err := d.Names(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		if strings.HasPrefix(name, names.TempPrefix) {
			t.Errorf("%s is left over", name)
		}
	}
}

// TestBindInBetween: a daemon binds its socket at the last moment, after the
// name has been looked at for the second time.
func TestBindInBetween(t *testing.T) {
	root, _, _ := tree(t)
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	seen := bound(t, d, "log")
	var daemons Stat
	renameat2 = func(olddir int, old string, newdir int, name string, flags uint) error {
		if daemons.Kind == "" && flags == unix.RENAME_EXCHANGE {
			if err := d.Rename("log", "old"); err != nil {
				t.Error(err)
			}
			daemons = bound(t, d, "log")
		}
		return unix.Renameat2(olddir, old, newdir, name, flags)
	}
	defer func() { renameat2 = unix.Renameat2 }()
	if _, _, err := d.Bind(NewSocket, "log", seen); !errors.Is(err, ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
	if st, err := d.Lstat("log"); err != nil || st.ID != daemons.ID {
		t.Errorf("log is %+v, %v; want the daemon's socket", st, err)
	}
	if l, err := d.Listening("log"); err != nil || !l.Live {
		t.Errorf("the daemon cannot be reached: %+v, %v", l, err)
	}
	noTemporary(t, d)
}

// TestPutBack plays each moment at which somebody interferes while a file that
// was swapped out by mistake is put back.
func TestPutBack(t *testing.T) {
	for _, tt := range []struct {
		name  string
		third func(d *Dir) error
		want  string // link text of what the name is in the end
	}{
		{"nobody interferes", func(*Dir) error { return nil }, "theirs"},
		{"the name is removed", func(d *Dir) error { return d.Unlink("log") }, "theirs"},
		{"the name is replaced", func(d *Dir) error { return errors.Join(d.Unlink("log"), d.Symlink("newest", "log")) }, "newest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, _, _ := tree(t, "log -> ours", "tmp -> theirs")
			d, err := root.Dir("/")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			held, ours, err := d.Hold("log")
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			if err := errors.Join(tt.third(d), d.PutBack("tmp", "log", ours.ID)); err != nil {
				t.Error(err)
			}
			if text, err := d.Readlink("log"); err != nil || text != tt.want {
				t.Errorf("log is %q, %v; want %q", text, err, tt.want)
			}
			if names, err := d.Names(0); err != nil || len(names) != 1 {
				t.Errorf("there is %v, %v; want log alone", names, err)
			}
		})
	}
}

// TestBindLongNames: each name that a file can have can be a socket's.
func TestBindLongNames(t *testing.T) {
	root, _, _ := tree(t)
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, length := range []int{1, MaxSocketPath - 1, 255} {
		name := strings.Repeat("x", length)
		s, _, err := d.Bind(NewSocket, name, Stat{Kind: Absent})
		if err != nil {
			t.Errorf("a name of %d bytes: %v", length, err)
			continue
		}
		s.Close()
		if l := len(TempName(name)); l > 255 {
			t.Errorf("TempName of %d bytes has %d", length, l)
		}
	}
}

// TestWritableReadOnly: a read-only file system is one also where the mode
// allows everything.
func TestWritableReadOnly(t *testing.T) {
	root, _, _ := tree(t)
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Writable(); err != nil {
		t.Errorf("a directory of ours: %v", err)
	}
	real := readOnly
	defer func() { readOnly = real }()
	readOnly = func(int) bool { return true }
	if err := d.Writable(); !errors.Is(err, unix.EROFS) {
		t.Errorf("on a read-only file system: %v, want EROFS", err)
	}
}

func TestReadOnly(t *testing.T) {
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if readOnly(int(f.Fd())) {
		t.Error("the directory for temporary files counts as read-only")
	}
}
