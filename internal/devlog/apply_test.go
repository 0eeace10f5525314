package devlog

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/rootfs"
	"devlog/internal/syslogconf"
)

// fakeDev is a directory that plays /dev.
func fakeDev(t *testing.T) (*rootfs.Dir, string) {
	t.Helper()
	path := t.TempDir()
	root, err := rootfs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); root.Close() })
	return d, path
}

func bindSocket(t *testing.T, path string) {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
}

func idOf(t *testing.T, d *rootfs.Dir, name string) rootfs.ID {
	t.Helper()
	st, err := d.Lstat(name)
	if err != nil || st.Kind == rootfs.Absent {
		t.Fatalf("%s: %+v, %v", name, st, err)
	}
	return st.ID
}

func onlyLog(t *testing.T, path string) {
	t.Helper()
	if names, err := os.ReadDir(path); err != nil || len(names) != 1 || names[0].Name() != logName {
		t.Errorf("there is %v, %v; want log alone", names, err)
	}
}

func TestReplaceWithLink(t *testing.T) {
	d, path := fakeDev(t)
	log := filepath.Join(path, logName)
	bindSocket(t, log)
	if err := replaceWithLink(d, "/run/x", idOf(t, d, logName)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.Readlink(log); err != nil || text != "/run/x" {
		t.Errorf("log is %q, %v", text, err)
	}
	onlyLog(t, path)
}

// TestReplaceWithLinkOfAnother: a daemon that has bound its socket since the
// name was inspected keeps it.
func TestReplaceWithLinkOfAnother(t *testing.T) {
	d, path := fakeDev(t)
	log := filepath.Join(path, logName)
	bindSocket(t, log)
	inspected := idOf(t, d, logName)
	if err := os.Rename(log, log+"2"); err != nil { // keeps the inode number in use
		t.Fatal(err)
	}
	bindSocket(t, log)
	now := idOf(t, d, logName)
	if err := replaceWithLink(d, "/run/x", inspected); !errors.Is(err, errChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if got := idOf(t, d, logName); got != now {
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
	d, path := fakeDev(t)
	if err := replaceWithLink(d, "/run/x", rootfs.ID{}); !errors.Is(err, errChanged) {
		t.Errorf("error %v, want errChanged", err)
	}
	if names, err := os.ReadDir(path); err != nil || len(names) != 0 {
		t.Errorf("there is %v, %v; want nothing", names, err)
	}
}

// TestPutBack plays each moment at which somebody else can interfere while a
// file that was swapped out by mistake is put back.
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
			d, path := fakeDev(t)
			log := filepath.Join(path, logName)
			if err := errors.Join(os.Symlink("ours", log), os.Symlink("theirs", filepath.Join(path, tmp))); err != nil {
				t.Fatal(err)
			}
			held, st, err := d.Hold(logName)
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			ours := st.ID
			tt.third(t, log)
			if err := d.PutBack(tmp, logName, ours); err != nil {
				t.Error(err)
			}
			if text, err := os.Readlink(log); err != nil || text != tt.want {
				t.Errorf("log is %q, %v; want %q", text, err, tt.want)
			}
			onlyLog(t, path)
		})
	}
}

// What a container's receiver on the host writes is where no link is followed.
func TestMessagesFile(t *testing.T) {
	if file := MessagesFile(false, "c1"); !strings.HasPrefix(file, syslogconf.LogsDir+"/c1/") {
		t.Errorf("messages go to %s, which is not below %s", file, syslogconf.LogsDir)
	}
}
