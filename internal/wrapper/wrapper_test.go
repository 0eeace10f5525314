package wrapper

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFindRuntime(t *testing.T) {
	dir := t.TempDir()
	place := func(name string, mode os.FileMode) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	self := place("self/devlog-runtime", 0o755)
	if err := os.Symlink(self, filepath.Join(dir, "self/no-such-runc")); err != nil {
		t.Fatal(err)
	}
	place("plain/no-such-runc", 0o644)
	if err := os.MkdirAll(filepath.Join(dir, "folder/no-such-runc"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := place("good/no-such-runc", 0o755)
	info, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	path := func(names ...string) string {
		for i, n := range names {
			names[i] = filepath.Join(dir, n)
		}
		return strings.Join(names, ":")
	}
	for _, tt := range []struct {
		name, path, want, err string
	}{
		{"no-such-runc", path("self", "plain", "folder", "good"), good, ""},
		{"no-such-runc", path("self", "plain", "folder"), "", runtimeEnv},
		{"no-such-runc", "", "", runtimeEnv},
		{good, "", good, ""},
		{self, path("good"), "", "itself"},
		{filepath.Join(dir, "self/no-such-runc"), path("good"), "", "itself"},
		{filepath.Join(dir, "nowhere"), path("good"), "", runtimeEnv},
		{"sh", "", "/bin/sh", ""}, // found although PATH is empty
	} {
		got, err := findRuntime(tt.name, tt.path, info)
		if tt.name == "sh" && err == nil {
			got = "/bin/" + filepath.Base(got)
		}
		if got != tt.want || (tt.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("findRuntime(%q, %q) = %q, %v; want %q, %q", tt.name, tt.path, got, err, tt.want, tt.err)
		}
	}
	// A relative directory would be the bundle's.
	t.Chdir(dir)
	if got, err := findRuntime("no-such-runc", "good:.", info); err == nil {
		t.Errorf("found in a relative directory: %s", got)
	}
}

func TestHookEnv(t *testing.T) {
	got := hookEnv([]string{"PATH=/evil", "DEVLOG_RULE=*.* /x", "DEVLOG_RUNTIME=crun", "LD_PRELOAD=x", "DEVLOG_SOCKET=/run/s"})
	if want := []string{hookPath, "DEVLOG_RULE=*.* /x", "DEVLOG_SOCKET=/run/s"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
