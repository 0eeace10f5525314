package launch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"devlog/internal/file"
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

func TestClearLogs(t *testing.T) {
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
	must(os.Mkdir(filepath.Join(dir, byNameDir), 0o755))
	for _, name := range []string{"ended", "recent"} {
		must(os.Symlink("../"+name, filepath.Join(dir, byNameDir, "the-"+name)))
	}
	must(os.Chtimes(filepath.Join(dir, byNameDir), old, old))

	calls := 0
	inUse := func() (InUse, error) {
		calls++
		used := InUse{Files: map[file.ID]bool{}, Names: map[string]bool{"waiting": true}}
		open := []string{"quiet/messages", clearPrefix + "quiet/messages"}
		if calls > 1 {
			open = append(open, clearPrefix+"late/messages")
		}
		for _, name := range open {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
				used.Files[idOf(info)] = true
			}
		}
		return used, nil
	}
	must(ClearLogs(dir, 24*time.Hour, inUse))
	entries := func(at string) (names []string) {
		list, err := os.ReadDir(at)
		must(err)
		for _, e := range list {
			names = append(names, e.Name())
		}
		return names
	}
	want := []string{stampName, byNameDir, "deep", "late", "link", "linked", "mixed", "quiet", "recent", "waiting"}
	if got := entries(dir); !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	if got := entries(filepath.Join(dir, byNameDir)); !slices.Equal(got, []string{"the-recent"}) {
		t.Errorf("links left: %v", got)
	}
	if got := entries(filepath.Join(elsewhere, "x")); len(got) != 1 {
		t.Errorf("left behind a link: %v", got)
	}

	// Not again within the hour, but after it.
	logs(dir, "ended", old, "messages")
	must(ClearLogs(dir, 24*time.Hour, inUse))
	if calls != 2 {
		t.Errorf("cleared again at once: %d", calls)
	}
	must(os.Chtimes(filepath.Join(dir, stampName), old, old))
	must(ClearLogs(dir, 24*time.Hour, inUse))
	if _, err := os.Lstat(filepath.Join(dir, "ended")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not cleared after an hour: %v", err)
	}
	must(ClearLogs(filepath.Join(dir, "none"), time.Hour, inUse))
}
