package failure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/rootfs"
	"devlog/internal/target"
)

func TestParseNote(t *testing.T) {
	const at = "2026-11-27T21:00:03+01:00"
	for _, tt := range []struct{ text, want string }{
		{at + " devlog-hook: no luck\n", "no luck"},
		{"2026-11-26T21:00:03Z devlog-hook: first\n" + at + " devlog-hook: last\n\n", "last"},
		{at + " devlog-hook: cut", "cut"},
		{at + " process 7@1234 devlog-hook: devlog-hook: twice", "devlog-hook: twice"},
		{at + " elsewhere devlog-hook: no\n", ""},
		{"", ""}, {"\n\n", ""}, {at, ""}, {at + " devlog-hook:", ""}, {"yesterday devlog-hook: no\n", ""},
		{at + " devlog-hook: " + strings.Repeat("x", maxReason+1), strings.Repeat("x", maxReason) + "..."},
		{at + " devlog-hook: " + strings.Repeat("x", maxNote), ""},
	} {
		got := parseNote(tt.text)
		if got == nil && tt.want != "" || got != nil && (got.Reason != tt.want || !got.At.Equal(time.Date(2026, 11, 27, 20, 0, 3, 0, time.UTC))) {
			t.Errorf("%.80q: %+v, want %.80q", tt.text, got, tt.want)
		}
	}
}

func FuzzParseNote(f *testing.F) {
	f.Add("2026-11-27T21:00:03Z devlog-hook: no luck\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got := parseNote(text); got != nil && len(got.Reason) > maxReason+3 {
			t.Errorf("%d bytes", len(got.Reason))
		}
	})
}

func TestNoteName(t *testing.T) {
	for name, want := range map[string]string{
		"c1": "c1.log", "ö": "#303#266.log", "a/b c": "a#057b#040c.log", "..": "...log",
		strings.Repeat("x", 255): strings.Repeat("x", maxNoteName) + ".log",
	} {
		if got := noteName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// No file that a container puts among its notes blocks the search. The latest of its own
// notes counts.
func TestHookFailure(t *testing.T) {
	dir := t.TempDir()
	notes := filepath.Join(dir, notesDir)
	victim := filepath.Join(dir, "victim")
	line := "2026-11-27T21:00:03Z devlog-hook: "
	put := func(name, text string) error { return os.WriteFile(filepath.Join(notes, name), []byte(text), 0o600) }
	err := errors.Join(os.MkdirAll(notes, 0o755), os.WriteFile(victim, []byte(line+"a secret\n"), 0o600),
		unix.Mkfifo(filepath.Join(notes, "a.log"), 0o600), os.Symlink(victim, filepath.Join(notes, "b.log")), os.Mkdir(filepath.Join(notes, "c.log"), 0o700),
		put("huge.log", strings.Repeat(line+"huge\n", 10_000)), put("other.txt", line+"other\n"), put("daemon.log", "its own\n"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := rootfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	target := &target.Target{Root: root}
	defer target.Close()
	if got := Of(target, "c1"); got != nil {
		t.Errorf("found %+v", got)
	}
	if err := errors.Join(put("x.log", line+"first\n"), put("y.log", strings.Replace(line, "27T", "28T", 1)+"last\n")); err != nil {
		t.Fatal(err)
	}
	if got := Of(target, "c1"); got == nil || got.Reason != "last" {
		t.Errorf("found %+v", got)
	}
	Forget(target, "c1")
	if got := Of(target, "c1"); got != nil {
		t.Errorf("found %+v afterwards", got)
	}
	for _, name := range []string{"a.log", "b.log", "c.log", "huge.log", "other.txt", "daemon.log"} {
		if _, err := os.Lstat(filepath.Join(notes, name)); err != nil {
			t.Error(err)
		}
	}
}

// Notes are written where possible, stay small, and can be removed.
func TestNoteHookFailure(t *testing.T) {
	top := t.TempDir()
	blocked, dir := filepath.Join(top, "file"), filepath.Join(top, "devlog")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dirs := []string{blocked, filepath.Join(top, "nosuch/devlog"), dir}
	for range 3 * maxNote / 100 {
		if err := Note(dirs, "c1", "", strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "c1.log"))
	info, serr := os.Stat(filepath.Join(dir, "c1.log"))
	if serr != nil || info.Mode().Perm()&0o027 != 0 {
		t.Errorf("its mode is %v, %v", info.Mode(), serr)
	}
	if err != nil || len(text) > maxNote || parseNote(string(text)) == nil {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if err := Note(dirs[:2], "c1", "", "x"); err == nil {
		t.Error("noted nowhere")
	}
	Remove(dirs, "c1")
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the directory is left")
	}
}

// However many containers could not be repaired, a directory has a bounded number of
// notes: the newest. Other files stay.
func TestNotesAreBounded(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, age time.Duration) {
		t.Helper()
		path := filepath.Join(dir, name)
		at := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range keptNotes + 20 {
		write(fmt.Sprintf("c%d.log", i), time.Duration(i+1)*time.Minute)
	}
	write("other", 1000*time.Hour)
	if err := os.Mkdir(filepath.Join(dir, "d.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Note([]string{dir}, "new", "", "x"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != keptNotes+2 {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	for name, want := range map[string]bool{"new.log": true, "c0.log": true, fmt.Sprintf("c%d.log", keptNotes-2): true,
		fmt.Sprintf("c%d.log", keptNotes-1): false, fmt.Sprintf("c%d.log", keptNotes+19): false, "other": true, "d.log": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %t", name, err == nil)
		}
	}
}
