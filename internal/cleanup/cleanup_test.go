package cleanup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
	"devlog/internal/file/filetest"
	"devlog/internal/names"
	"devlog/internal/record"
)

func TestRemove(t *testing.T) {
	me := record.Process{PID: 7, Started: "123"}
	const mine = `{"receiver": 7, "started": "123"}`
	file := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	for name, tt := range map[string]struct {
		make func(path string) error
		self record.Process
		left []string
	}{
		"ours":          {file(mine), me, nil},
		"another's":     {file(strings.Replace(mine, "7", "8", 1)), me, []string{".devlog-link", names.Record}},
		"earlier":       {file(strings.Replace(mine, "123", "122", 1)), me, []string{".devlog-link", names.Record}},
		"nobody's":      {file(`{"mount_ns": 7}`), me, []string{".devlog-link", names.Record}},
		"nobody's time": {file(`{"receiver": 7, "started": ""}`), record.Process{PID: 7}, []string{".devlog-link", names.Record}},
		"too large":     {file(strings.Repeat(" ", 64<<10) + mine), me, []string{".devlog-link", names.Record}},
		"none":          {func(string) error { return nil }, me, []string{".devlog-link"}},
		"pipe":          {func(path string) error { return unix.Mkfifo(path, 0o600) }, me, []string{".devlog-link", names.Record}},
		"link": {func(path string) error {
			other := filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(other, []byte(mine), 0o600); err != nil {
				return err
			}
			return os.Symlink(other, path)
		}, me, []string{".devlog-link", names.Record}},
	} {
		dir := t.TempDir()
		for _, err := range []error{tt.make(filepath.Join(dir, names.Record)), os.Symlink("x", filepath.Join(dir, ".devlog-link"))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		fd := filetest.Dir(t, dir)
		Remove([]*Name{{Dir: fd, Name: names.Record}, {Dir: fd, Name: ".devlog-link"}}, &Identity{Self: tt.self})
		var left []string
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if err != nil || !slices.Equal(left, tt.left) {
			t.Errorf("%s: left are %q, want %q, %v", name, left, tt.left, err)
		}
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, names.Record), []byte(`{"receiver": 7, "started": "70"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	known := &Identity{}
	known.UsePrevious([]string{"6/60", "7/70", "8/80", "x"})
	list := known.previous
	at := &Name{Dir: filetest.Dir(t, dir), Name: names.Record}
	i := &Identity{previous: slices.Clone(list)}
	if i.Forget([]*Name{at}); !slices.Equal(i.previous, list[1:2]) || !i.notedIn(at.Dir) {
		t.Errorf("%v of %v", i.previous, list)
	}
	i = &Identity{previous: slices.Clone(list)}
	if i.Forget(nil); !slices.Equal(i.previous, list[:1]) {
		t.Errorf("without a record: %v", i.previous)
	}
}

// The directory of a name is looked up once, however often it is asked for.
func TestDirID(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &Name{Dir: fd}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if got := p.DirID(); got != file.IDOf(&st) {
		t.Errorf("it is %v, want %v", got, file.IDOf(&st))
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	if got := p.DirID(); got != file.IDOf(&st) {
		t.Errorf("the second time it is %v, want %v", got, file.IDOf(&st))
	}
}
