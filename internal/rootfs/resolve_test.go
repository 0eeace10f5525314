package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/dirfd"
)

func TestResolve(t *testing.T) {
	long := strings.Repeat("x", 256)
	root, _, _ := tree(t, "dev/", "run/", "real/", "real/sub/", "var -> /real", "file", "vr -> /real/sub", "gone -> /none/far",
		"dev/a -> /run/log", "dev/b -> ../run/log", "dev/c -> a", "dev/d -> /none/at/all", "dev/e -> /../../../../run/log",
		"dev/loop -> loop2", "dev/loop2 -> loop", "dev/self -> self", "dev/f -> /var/sub/x", "dev/g -> /file/x", "dev/h -> /run",
		"dev/i -> ../../../../etc/passwd", "dev/long -> /run/"+long, "dev/up -> /vr/../log/x", "dev/up2 -> ../vr/./..//log",
		"dev/up3 -> /none/../run/log", "dev/up4 -> /file/../run/log", "dev/dot -> /run/.", "dev/dotdot -> /vr/..", "dev/slash -> /run/none/",
		"dev/slashfile -> /file/", "dev/root -> /", "dev/gone -> /gone/x/log", "dev/uploop -> /dev/loop/../log", "dev/long2 -> /"+long+"/../run/log")
	for _, tt := range []struct {
		path, want string
		kind       Kind
		dir        bool
		blocked    error
	}{
		{"/dev/none", "/dev/none", Absent, true, nil},
		{"/nodir/none", "/nodir/none", Absent, false, nil},
		{"/dev/a", "/run/log", Absent, true, nil},
		{"/dev/b", "/run/log", Absent, true, nil},
		{"/dev/c", "/run/log", Absent, true, nil},
		{"/dev/d", "/none/at/all", Absent, false, nil},
		{"/dev/e", "/run/log", Absent, true, nil},
		{"/dev/f", "/var/sub/x", Absent, true, nil},
		{"/dev/h", "/run", Directory, true, nil},
		{"/dev/i", "/etc/passwd", Absent, false, nil}, // the root's own /etc, never the host's
		{"/dev/../file", "/file", Regular, true, nil},
		// what anybody can make in a shared directory is no error
		{"/dev/loop", "/dev/loop", Absent, false, unix.ELOOP},
		{"/dev/self", "/dev/self", Absent, false, unix.ELOOP},
		{"/dev/uploop", "/dev/log", Absent, false, unix.ELOOP},
		{"/dev/g", "/file/x", Absent, false, unix.ENOTDIR},
		{"/dev/long", "/run/" + long, Absent, false, unix.ENAMETOOLONG},
		{"/dev/long2", "/run/log", Absent, false, unix.ENAMETOOLONG},
		// a .. is above what the link before it leads to
		{"/dev/up", "/real/log/x", Absent, false, nil},
		{"/dev/up2", "/real/log", Absent, true, nil},
		{"/dev/up3", "/run/log", Absent, false, unix.ENOENT},
		{"/dev/up4", "/run/log", Absent, false, unix.ENOTDIR},
		{"/dev/dotdot", "/real", Directory, true, nil},
		{"/dev/dot", "/run", Directory, true, nil},
		{"/dev/slash", "/run/none", Absent, false, unix.ENOTDIR},
		{"/dev/slashfile", "/file", Absent, false, unix.ENOTDIR},
		{"/dev/root", "/", Directory, true, nil},
		// what a dangling link leads to can be made, behind it nothing can
		{"/dev/gone", "/none/far/x/log", Absent, false, nil},
	} {
		p, err := root.Resolve(tt.path)
		if err != nil {
			t.Errorf("Resolve(%s): %v", tt.path, err)
			continue
		}
		if !errors.Is(p.Blocked, tt.blocked) {
			t.Errorf("Resolve(%s): blocked by %v, want %v", tt.path, p.Blocked, tt.blocked)
		}
		if p.Path != tt.want || p.Stat.Kind != tt.kind || (p.Dir != nil) != tt.dir {
			t.Errorf("Resolve(%s) = %s, %s, directory %t; want %s, %s, %t", tt.path, p.Path, p.Stat.Kind, p.Dir != nil, tt.want, tt.kind, tt.dir)
		}
		p.Close()
	}
}

// TestResolveAsTheKernel: the place is the one that a client comes to, and
// what MkdirAll makes of its path is on the client's way.
func TestResolveAsTheKernel(t *testing.T) {
	root, dir, _ := tree(t, "dev/", "run/", "deep/er/", "var -> deep", "var/run -> er", "lost -> run/lost")
	for i, text := range []string{"../var/run/../log2/log", "../run/../run/log", "../lost/log", "../var/./run/log", "..//var/run/..//log", "../var/run/../../run/a/b/log"} {
		name := "l" + string(rune('0'+i))
		log := filepath.Join(dir, "dev", name)
		if err := os.Symlink(text, log); err != nil {
			t.Fatal(err)
		}
		p, err := root.Resolve("/dev/" + name)
		if err != nil || p.Blocked != nil || p.Stat.Kind != Absent {
			t.Errorf("%s: %+v, %v", text, p, err)
			continue
		}
		p.Close()
		d, made, err := root.MkdirAll(filepath.Dir(p.Path))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		s, id, err := d.Bind(NewSocket, p.Name, p.Stat)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		var st unix.Stat_t
		if err := unix.Stat(log, &st); err != nil || newStat(&st).ID != id {
			t.Errorf("%s: the socket was made at %s, to which the link does not lead: %v", text, p.Path, err)
		}
		if again, err := root.Resolve("/dev/" + name); err != nil || again.Stat.ID != id {
			t.Errorf("%s: now at %+v (%v), was at %s", text, again, err, p.Path)
		} else {
			again.Close()
		}
		if err := d.Unlink(p.Name); err != nil {
			t.Error(err)
		}
		d.Close()
		RemoveAll(made)
	}
}

func TestResolveProcLinks(t *testing.T) {
	root, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"/proc/self/root/run/log", "/proc/self/cwd", "/proc/thread-self/../x"} {
		p, err := root.Resolve(name)
		if err != nil || !errors.Is(p.Blocked, unix.ELOOP) {
			t.Errorf("Resolve(%s) = %+v, %v; want it blocked", name, p, err)
		}
		p.Close()
	}
}

// FuzzResolve: whatever a link's text is, the place is inside the root, and
// where nothing blocks it the path has no .. elements.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"/run/log", "../run/log", "a", "", "/", ".", "..", "/var/../x", "/dev/log", "/var/x/../../..//run/."} {
		f.Add(s)
	}
	base := f.TempDir()
	for _, d := range []string{"dev", "run", "real/sub"} {
		if err := os.MkdirAll(filepath.Join(base, d), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("/real/sub", filepath.Join(base, "var")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		log := filepath.Join(base, "dev/log")
		_ = os.Remove(log)
		if os.Symlink(text, log) != nil {
			t.Skip()
		}
		root, err := Open(base)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		p, err := root.Resolve("/dev/log")
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		defer p.Close()
		if p.Path != filepath.Clean(p.Path) || p.Path[0] != '/' || p.Stat.Kind == Link {
			t.Errorf("%q: %+v", text, p)
		}
		if p.Blocked == nil && p.Dir == nil && p.Stat.Kind != Absent {
			t.Errorf("%q: something without a directory: %+v", text, p)
		}
	})
}

// Without openat2(2), every path resolves to the same file.
func TestWithoutOpenat2(t *testing.T) {
	inRoot = func(int, string, uint64) (int, error) { return -1, dirfd.ErrNoOpenat2 }
	t.Cleanup(func() { inRoot = dirfd.OpenInRoot })
	t.Run("resolve", TestResolve)
	t.Run("make", TestMkdirAll)
}
