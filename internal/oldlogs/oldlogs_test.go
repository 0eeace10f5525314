package oldlogs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"devlog/internal/file"
	"devlog/internal/launch"
)

func TestParseKeep(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "30d": 720 * time.Hour, "2w": 336 * time.Hour, "12h": 12 * time.Hour, "1h30m": 90 * time.Minute,
		"0": -1, "0d": -1, "-3d": -1, "3": -1, "d": -1, "x": -1, "-1h": -1, "4000000000d": -1, "99999999999999999999w": -1, "1.5d": -1,
	} {
		got, err := ParseKeep(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("ParseKeep(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
}

func FuzzParseKeep(f *testing.F) {
	f.Add("30d")
	f.Add("-1h")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := ParseKeep(text); err == nil && (d < 0 || d == 0 && text != "") {
			t.Errorf("ParseKeep(%q) = %v", text, d)
		}
	})
}

func TestClear(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	now := time.Now()
	old := now.Add(-48 * time.Hour)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	logs := func(in, name string, at time.Time, files ...string) {
		t.Helper()
		at2 := filepath.Join(in, name)
		must(os.MkdirAll(at2, 0o755))
		for _, f := range files {
			must(os.WriteFile(filepath.Join(at2, f), []byte(name), 0o600))
			must(os.Chtimes(filepath.Join(at2, f), at, at))
		}
		must(os.Chtimes(at2, at, at))
	}
	logs(dir, "ended", old, "messages", "messages.1.gz")
	logs(dir, "empty", old)
	logs(dir, "quiet", old, "messages")   // its receiver has the file open
	logs(dir, "waiting", old, "messages") // its receiver has opened nothing yet
	logs(dir, "late", old, "messages")    // its receiver opens it meanwhile
	logs(dir, "started", old)             // its receiver starts meanwhile, and has opened nothing yet
	logs(dir, "recent", now, "messages")
	logs(dir, "mixed", old, "messages")
	must(os.Chtimes(filepath.Join(dir, "mixed", "messages"), now, now))
	logs(dir, "deep", old, "messages")
	must(os.Mkdir(filepath.Join(dir, "deep", "own"), 0o755))
	must(os.Chtimes(filepath.Join(dir, "deep"), old, old))
	logs(dir, "linked", old)
	must(os.Symlink(elsewhere, filepath.Join(dir, "linked", "messages")))
	must(os.Chtimes(filepath.Join(dir, "linked"), old, old))
	logs(dir, clearPrefix+"killed", old, "messages") // by a clearing that was killed
	logs(elsewhere, "x", old, "messages")
	must(os.Symlink(filepath.Join(elsewhere, "x"), filepath.Join(dir, "link")))
	must(os.Mkdir(filepath.Join(dir, launch.ByNameDir), 0o755))
	for _, name := range []string{"ended", "recent"} {
		must(os.Symlink("../"+name, filepath.Join(dir, launch.ByNameDir, "the-"+name)))
	}
	must(os.Chtimes(filepath.Join(dir, launch.ByNameDir), old, old))

	calls := 0
	list := func() (inUse, error) {
		calls++
		used := inUse{files: map[file.ID]bool{}, names: map[string]bool{"waiting": true}}
		open := []string{"quiet/messages", clearPrefix + "quiet/messages"}
		if calls > 1 {
			open = append(open, clearPrefix+"late/messages")
			used.names["started"] = true
		}
		for _, name := range open {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
				used.files[idOf(info)] = true
			}
		}
		return used, nil
	}
	must(clearUnused(dir, 24*time.Hour, list))
	entries := func(at string) (names []string) {
		found, err := os.ReadDir(at)
		must(err)
		for _, e := range found {
			names = append(names, e.Name())
		}
		return names
	}
	want := []string{stampName, launch.ByNameDir, "deep", "late", "link", "linked", "mixed", "quiet", "recent", "started", "waiting"}
	if got := entries(dir); !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	if got := entries(filepath.Join(dir, launch.ByNameDir)); !slices.Equal(got, []string{"the-recent"}) {
		t.Errorf("links left: %v", got)
	}
	if got := entries(filepath.Join(elsewhere, "x")); len(got) != 1 {
		t.Errorf("left behind a link: %v", got)
	}

	// Not again within the hour, but after it.
	logs(dir, "ended", old, "messages")
	must(clearUnused(dir, 24*time.Hour, list))
	if calls != 2 {
		t.Errorf("cleared again at once: %d", calls)
	}
	must(os.Chtimes(filepath.Join(dir, stampName), old, old))
	must(clearUnused(dir, 24*time.Hour, list))
	if _, err := os.Lstat(filepath.Join(dir, "ended")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not cleared after an hour: %v", err)
	}
	must(clearUnused(filepath.Join(dir, "none"), time.Hour, list))
}

// Only a directory in which nothing is and that no receiver uses is removed.
func TestRemoveEmpty(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"silent", "opened", "waiting", "held", "spoke", "deep/own"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.WriteFile(filepath.Join(dir, "spoke", "messages"), []byte("x"), 0o600), os.WriteFile(filepath.Join(dir, "opened", "messages"), nil, 0o600), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600),
		os.Symlink("silent", filepath.Join(dir, "link"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	list := func() (inUse, error) {
		info, err := os.Stat(filepath.Join(dir, "held"))
		return inUse{files: map[file.ID]bool{idOf(info): true}, names: map[string]bool{"waiting": true}}, err
	}
	for _, name := range []string{"waiting", "held", "spoke", "deep", "file", "link", "none", "..", "opened", "silent"} {
		if err := removeEmpty(dir, name, list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := os.Lstat(filepath.Join(dir, name))
		if gone := errors.Is(err, os.ErrNotExist); gone != (name == "opened" || name == "silent" || name == "none") {
			t.Errorf("%s: gone %t", name, gone)
		}
	}
	if err := removeEmpty(filepath.Join(dir, "nowhere"), "silent", list); err != nil {
		t.Error(err)
	}
}
