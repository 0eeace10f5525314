package lost

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/internal/eventloop"
)

// Repairs run a few at a time. One that hangs is killed, and holds up no others.
func TestRunner(t *testing.T) {
	dir := t.TempDir()
	hook := filepath.Join(dir, "hook")
	script := "#!/bin/sh\n[ $# = 3 ] && [ $1 = repair-lost ] || exit 2\ncase $3 in\n2) exec sleep 1000 ;;\n7) exit 3 ;;\nesac\n: >" + dir + "/$3\n"
	if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	var said []string
	r := NewRunner(loop, hook, func(text string) {
		if said = append(said, text); len(said) == 2 {
			loop.Stop()
		}
	})
	r.limit = 4 * time.Second
	r.Repair([]uint64{9, 8, 7, 6, 5, 4, 3, 2, 1})
	if r.runs != maxRuns {
		t.Errorf("%d repairs run", r.runs)
	}
	if err := loop.Run(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1", "3", "4", "5", "6", "8", "9"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%v", err)
		}
	}
	if text := strings.Join(said, "; "); !strings.Contains(text, "container 7 failed") || !strings.Contains(text, "container 2 failed") {
		t.Errorf("it says %q", text)
	}
	missing := NewRunner(loop, filepath.Join(dir, "none"), func(text string) { said = []string{text} })
	if missing.Repair([]uint64{1}); len(said) != 1 || !strings.Contains(said[0], "cannot run ") {
		t.Errorf("it says %q", said)
	}
}
