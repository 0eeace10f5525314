package record

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"devlog/internal/names"
)

func TestNotedIn(t *testing.T) {
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p := Process{PID: 7, Started: "42"}
	for text, want := range map[string]bool{
		`{"receiver": 7, "started": "42"}`:                                          true,
		"{\n\t\"a\": {\"receiver\": 8},\n\t\"receiver\": 7, \"started\": \"42\"\n}": true,
		`{"receiver": 7, "started": "43"}`:                                          false,
		`{"receiver": 8, "started": "42"}`:                                          false,
		`{"receiver": 7}`:                                                           false,
		`{"a": {"receiver": 7, "started": "42"}}`:                                   false,
		`{"receiver": "7", "started": "42"}`:                                        false,
		`{"receiver": 7, "started": "42"`:                                           false,
		`[]`:                                                                        false,
		"nothing":                                                                   false,
	} {
		name := filepath.Join(path, names.Record)
		if err := os.Symlink(text, name); err != nil {
			t.Fatal(err)
		}
		if got := p.NotedIn(int(dir.Fd())); got != want {
			t.Errorf("%s: %t", text, got)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if p.NotedIn(int(dir.Fd())) || (Process{PID: 7}).NotedIn(int(dir.Fd())) {
		t.Error("noted without a record")
	}
}

// A process is told from others by what is written of it.
func TestProcess(t *testing.T) {
	s := Self()
	if n, err := strconv.Atoi(s.Started); err != nil || n <= 0 || s.PID != os.Getpid() {
		t.Errorf("%+v", s)
	}
	if p, ok := ParseProcess(s.String()); !ok || p != s {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := ParseProcess("x/1"); ok {
		t.Error("x is a process")
	}
}

// A process with the same ID that started at another time is another one.
func TestRuns(t *testing.T) {
	own, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if own != Self() {
		t.Errorf("%v, and by itself %v", own, Self())
	}
	for p, want := range map[Process]bool{own: true, {own.PID, own.Started + "0"}: false, {own.PID, ""}: false, {}: false} {
		if got := p.Runs(); got != want {
			t.Errorf("%v runs: %t", p, got)
		}
	}
}
