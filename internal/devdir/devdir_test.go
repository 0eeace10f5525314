package devdir

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"devlog/internal/names"
	"devlog/internal/rootfs"
	"devlog/internal/rootfs/rootfstest"
)

func onlyLog(t *testing.T, path string) {
	t.Helper()
	if list, err := os.ReadDir(path); err != nil || len(list) != 1 || list[0].Name() != names.Log {
		t.Errorf("there is %v, %v; want log alone", list, err)
	}
}

func TestReplaceWithLink(t *testing.T) {
	d, path := rootfstest.Dir(t)
	log := filepath.Join(path, names.Log)
	rootfstest.Listen(t, log)
	if err := ReplaceWithLink(d, "/run/x", rootfstest.ID(t, d, names.Log)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.Readlink(log); err != nil || text != "/run/x" {
		t.Errorf("log is %q, %v", text, err)
	}
	onlyLog(t, path)
}

// A daemon that has bound its socket after the inspection keeps it.
func TestReplaceWithLinkOfAnother(t *testing.T) {
	d, path := rootfstest.Dir(t)
	log := filepath.Join(path, names.Log)
	rootfstest.Listen(t, log)
	inspected := rootfstest.ID(t, d, names.Log)
	if err := os.Rename(log, log+"2"); err != nil { // keeps the inode number in use
		t.Fatal(err)
	}
	rootfstest.Listen(t, log)
	now := rootfstest.ID(t, d, names.Log)
	if err := ReplaceWithLink(d, "/run/x", inspected); !errors.Is(err, ErrChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if got := rootfstest.ID(t, d, names.Log); got != now {
		t.Errorf("the daemon's socket is gone: %v, want %v", got, now)
	}
	if err := os.Remove(log + "2"); err != nil {
		t.Fatal(err)
	}
	onlyLog(t, path)
	if c, err := net.Dial("unixgram", log); err != nil {
		t.Errorf("the daemon cannot be reached: %v", err)
	} else {
		c.Close()
	}
}

func TestReplaceWithLinkOfNothing(t *testing.T) {
	d, path := rootfstest.Dir(t)
	if err := ReplaceWithLink(d, "/run/x", rootfs.ID{}); !errors.Is(err, ErrChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if names, err := os.ReadDir(path); err != nil || len(names) != 0 {
		t.Errorf("there is %v, %v; want nothing", names, err)
	}
}

// TestPutBack tries each moment at which somebody can interfere while a file that was
// swapped by mistake is put back.
func TestPutBack(t *testing.T) {
	const tmp = ".tmp"
	for _, tt := range []struct {
		name  string
		third func(t *testing.T, log string) // after the swap
		want  string                         // link text of what log is in the end
	}{
		{"nobody interferes", func(*testing.T, string) {}, "theirs"},
		{"the name is removed", func(t *testing.T, log string) {
			if err := os.Remove(log); err != nil {
				t.Fatal(err)
			}
		}, "theirs"},
		{"the name is replaced", func(t *testing.T, log string) {
			if err := errors.Join(os.Remove(log), os.Symlink("newest", log)); err != nil {
				t.Fatal(err)
			}
		}, "newest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, path := rootfstest.Dir(t)
			log := filepath.Join(path, names.Log)
			if err := errors.Join(os.Symlink("ours", log), os.Symlink("theirs", filepath.Join(path, tmp))); err != nil {
				t.Fatal(err)
			}
			held, st, err := d.Hold(names.Log)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			ours := st.ID
			tt.third(t, log)
			if err := d.PutBack(tmp, names.Log, ours); err != nil {
				t.Error(err)
			}
			if text, err := os.Readlink(log); err != nil || text != tt.want {
				t.Errorf("log is %q, %v; want %q", text, err, tt.want)
			}
			onlyLog(t, path)
		})
	}
}
