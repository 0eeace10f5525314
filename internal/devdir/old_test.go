package devdir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/internal/names"
	"devlog/internal/rootfs/rootfstest"
)

// Only what was inspected is renamed, whatever has the new name.
func TestMoveOld(t *testing.T) {
	makes := map[string]func(string) error{
		"nothing":   func(string) error { return nil },
		"file":      func(name string) error { return os.WriteFile(name, nil, 0o600) },
		"FIFO":      func(name string) error { return unix.Mkfifo(name, 0o600) },
		"link":      func(name string) error { return os.Symlink("/etc", name) },
		"directory": func(name string) error { return os.MkdirAll(name+"/kept", 0o700) },
	}
	for _, what := range []string{"file", "FIFO", "directory"} {
		for before, make := range makes {
			dir := rootfstest.Root(t)
			dev := rootfstest.Open(t, dir, names.Dev)
			log := filepath.Join(dir, names.LogPath)
			if err := errors.Join(makes[what](log), make(filepath.Join(dir, names.OldPath))); err != nil {
				t.Fatal(err)
			}
			id := rootfstest.ID(t, dev, names.Log)
			other := id
			other.Ino++
			if _, err := MoveOld(dev, other); !errors.Is(err, ErrChanged) || rootfstest.ID(t, dev, names.Log) != id {
				t.Errorf("%s, %s: another file is moved: %v", what, before, err)
			}
			back, err := MoveOld(dev, id)
			if err != nil {
				t.Fatalf("%s, %s: %v", what, before, err)
			}
			if _, err := os.Lstat(log); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s, %s: it stays: %v", what, before, err)
			}
			if back(); rootfstest.ID(t, dev, names.Log) != id {
				t.Errorf("%s, %s: it is not given back", what, before)
			}
		}
	}
}
