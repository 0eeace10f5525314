package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"--help", 0, "devlog-nri install DIR"},
		{"--version", 0, "devlog-nri devel"},
		{"--nonsense", 2, "nonsense"},
		{"x", 2, `unexpected argument "x"`},
		{"--log-format xml", 2, "use text or json"},
		{"--dir opt", 2, "use an absolute path"},
		{"install", 2, "needs one DIR"},
		{"install --help", 2, "needs one DIR"},
		{"install /proc/nowhere", 4, "/proc/nowhere"},
		{"--listen nonsense --dir /", 4, "nonsense"},
	} {
		var out bytes.Buffer
		if code := run(strings.Fields(tt.args), &out, &out); code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%s: %d\n%s", tt.args, code, &out)
		}
	}
}

// install copies the programs beside this one.
func TestInstallHere(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"devlog-hook", "devlogd"} {
		file := filepath.Join(filepath.Dir(self), name)
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
	}
	var out bytes.Buffer
	if code := run([]string{"install", dir}, &out, &out); code != 0 {
		t.Fatalf("%d\n%s", code, &out)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "devlogd")); err != nil || string(text) != "devlogd" {
		t.Errorf("%q, %v", text, err)
	}
}
