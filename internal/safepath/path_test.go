package safepath

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMakeDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.MkdirAll(at("host/there"), 0o755), os.MkdirAll(at("logs/there"), 0o755), os.Symlink(at("host"), at("link")), os.Symlink(at("host"), at("logs/link")),
		os.Symlink(at("host/new"), at("logs/dangling")), os.Symlink(at("logs"), at("to-logs")), os.WriteFile(at("logs/file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	const linked = "is not a directory (no link is followed there); hint: create "
	for _, tt := range []struct{ path, below, want string }{
		{"new", "", ""},
		{"a/b/c", "", ""},
		{"there/new", "", ""},
		{"link/new", "", linked},
		{"link/there/new", "", linked},
		{"to-logs/x/new", "to-logs", ""}, // the administrator's link
		{"logs/x/y", "logs", ""},
		{"logs/link/new", "logs", linked},
		{"logs/link/there/new", "logs", linked},
		{"logs/file/new", "logs", linked},
		{"logs/dangling/new", "logs", linked},
		{"logs/there", "logs", "left alone"},
		{"logs/dangling", "logs", "left alone"},
		{"logs/link", "logs", "left alone"},
	} {
		below := tt.below
		if below != "" {
			below = at(below)
		}
		err := MakeDirectory(at(tt.path), below, 12345, 54321)
		if tt.want == "left alone" && err != nil || tt.want == "" && err != nil || tt.want == linked && (err == nil || !strings.Contains(err.Error(), linked)) {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		}
		var st unix.Stat_t
		if serr := unix.Stat(at(tt.path), &st); tt.want == "" && (serr != nil || st.Uid != 12345 || st.Gid != 54321 || st.Mode&0o777 != 0o755) {
			t.Errorf("%s is of %d:%d, %v", tt.path, st.Uid, st.Gid, serr)
		}
		if parent := filepath.Dir(at(tt.path)); unix.Stat(parent, &st) == nil && st.Uid != 0 {
			t.Errorf("%s was given away", parent)
		}
	}
	if left, err := os.ReadDir(at("host")); err != nil || len(left) != 1 {
		t.Errorf("made through a link: %v, %v", left, err)
	}
	var st unix.Stat_t
	for _, name := range []string{"host", "host/there", "logs/there"} {
		if err := unix.Stat(at(name), &st); err != nil || st.Uid != 0 {
			t.Errorf("%s is of %d, %v", name, st.Uid, err)
		}
	}
}

// Only what belongs to the former user is given, and nothing that could be elsewhere.
func TestGive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, "logs", name) }
	if err := errors.Join(os.MkdirAll(at("c"), 0o755), os.MkdirAll(at("other"), 0o755), os.Mkdir(at("c/directory"), 0o755),
		os.WriteFile(at("c/own"), nil, 0o640), os.WriteFile(at("c/others"), nil, 0o600), os.Chown(at("c/others"), 7, 7),
		os.WriteFile(at("c/unnamed"), nil, 0o600), os.WriteFile(at("secret"), nil, 0o600), os.Link(at("secret"), at("c/hard")),
		os.Symlink(at("secret"), at("c/soft")), os.Symlink("c", at("link")), unix.Mkfifo(at("c/fifo"), 0o600), os.Chown(at("c/own"), 0, 4)); err != nil {
		t.Fatal(err)
	}
	if err := Give(at("c"), filepath.Join(dir, "logs"), []string{"own", "others", "hard", "soft", "fifo", "directory", "missing"}, 12345, 0); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]uint32{"c": 12345, "c/own": 12345, "c/others": 7, "c/unnamed": 0, "c/hard": 0, "c/soft": 0, "c/fifo": 0, "c/directory": 0, "secret": 0} {
		var st unix.Stat_t
		if err := unix.Lstat(at(name), &st); err != nil || st.Uid != want || name == "c/own" && st.Gid != 4 {
			t.Errorf("%s is of %d:%d, %v, want %d", name, st.Uid, st.Gid, err, want)
		}
	}
	if err := Give(at("link"), filepath.Join(dir, "logs"), nil, 12345, 0); err == nil {
		t.Error("a link was followed")
	}
}
