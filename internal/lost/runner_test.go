package lost

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"devlog/internal/eventloop"
	"devlog/internal/record"
)

// Repairs run a few at a time. One that hangs is killed, and holds up no others. If one was killed
// after the service had received its container, that was repaired.
func TestRunner(t *testing.T) {
	dir := t.TempDir()
	hook := filepath.Join(dir, "hook")
	script := "#!/bin/sh\n[ $# = 3 ] && [ $1 = repair-lost ] || exit 2\ncase $3 in\n2) exec sleep 1000 ;;\n4) kill -9 $$ ;;\n7) exit 3 ;;\nesac\n: >" + dir + "/$3\n"
	if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	loop, err := eventloop.New()
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	files, received := filepath.Join(dir, "containers"), record.Process{PID: 4, Started: "4"}
	for number := range uint64(10) {
		if err := Save(files, number, Saved{Init: record.Process{PID: int(number), Started: strconv.FormatUint(number, 10)}}); err != nil {
			t.Fatal(err)
		}
	}
	var said []string
	r := NewRunner(loop, files, hook, func(init record.Process) bool { return init == received }, func(text string) {
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
	if left, err := Numbers(files); err != nil || slices.Contains(left, 4) || !slices.Contains(left, 7) {
		t.Errorf("%v are noted, %v", left, err)
	}
	for _, name := range []string{"1", "3", "5", "6", "8", "9"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%v", err)
		}
	}
	if text := strings.Join(said, "; "); !strings.Contains(text, "container 7 failed") || !strings.Contains(text, "container 2 failed") {
		t.Errorf("it says %q", text)
	}
	missing := NewRunner(loop, files, filepath.Join(dir, "none"), nil, func(text string) { said = []string{text} })
	if missing.Repair([]uint64{1}); len(said) != 1 || !strings.Contains(said[0], "cannot run ") {
		t.Errorf("it says %q", said)
	}
}
