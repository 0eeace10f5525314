package sink

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/internal/safepath"

	"golang.org/x/sys/unix"
)

func logs(t *testing.T) (below, dir, victim string) {
	t.Helper()
	top := t.TempDir()
	below, victim = filepath.Join(top, "logs"), filepath.Join(top, "etc", "victim")
	dir = filepath.Join(below, "c1")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.Mkdir(filepath.Dir(victim), 0o755), os.WriteFile(victim, []byte("precious"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
			t.Errorf("the file elsewhere: %q, %v", text, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(victim)); err != nil || len(entries) != 1 {
			t.Errorf("made elsewhere: %v, %v", entries, err)
		}
	})
	return below, dir, victim
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestBelowFIFO(t *testing.T) {
	below, dir, victim := logs(t)
	elsewhere := filepath.Join(filepath.Dir(filepath.Dir(victim)), "fifo")
	must(t, unix.Mkfifo(dir+"/fifo", 0o600), unix.Mkfifo(elsewhere, 0o600), os.Symlink(elsewhere, dir+"/link"))
	for path, want := range map[string]string{
		dir + "/fifo": "",
		dir + "/link": "it is no named pipe",
		elsewhere:     "",
	} {
		f, err := openFIFO(safepath.New(path, below))
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
}
