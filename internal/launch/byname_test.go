package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMakeNameLink(t *testing.T) {
	logs := t.TempDir()
	name := filepath.Join(logs, ByNameDir, "shop_web-0_nginx")
	for _, id := range []string{"c1", "c2", "c2"} { // the container was restarted
		dir := filepath.Join(logs, id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := makeNameLink(dir, "shop_web-0_nginx")
		if err != nil || l == nil {
			t.Fatalf("%s: %v, %v", id, l, err)
		}
		if got := l.passed().Name; got != "unlink/shop_web-0_nginx" {
			t.Errorf("passed as %s", got)
		}
		l.close()
		if to, err := os.Readlink(name); err != nil || to != "../"+id {
			t.Errorf("%s: the link leads to %s, %v", id, to, err)
		}
	}
	for _, wrong := range []string{"", "..", "a/b", "a:b", strings.Repeat("x", 256)} {
		if l, err := makeNameLink(filepath.Join(logs, "c1"), wrong); l != nil || err != nil {
			t.Errorf("%q: %v, %v", wrong, l, err)
		}
	}
	if l, err := makeNameLink(filepath.Join(logs, ByNameDir), "x"); l != nil || err != nil {
		t.Errorf("logs in the links' own directory: %v, %v", l, err)
	}

	// Without logs the link goes again, but not another's.
	l, err := makeNameLink(filepath.Join(logs, "c3"), "new")
	if err != nil {
		t.Fatal(err)
	}
	l.close()
	lost, err := makeNameLink(filepath.Join(logs, "c3"), "taken")
	if err != nil {
		t.Fatal(err)
	}
	later, err := makeNameLink(filepath.Join(logs, "c1"), "taken")
	if err != nil {
		t.Fatal(err)
	}
	lost.close()
	later.close()
	entries, err := os.ReadDir(filepath.Join(logs, ByNameDir))
	if err != nil || len(entries) != 2 || entries[1].Name() != "taken" {
		t.Errorf("left: %v, %v", entries, err)
	}

	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, ByNameDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := makeNameLink(filepath.Join(blocked, "c1"), "y"); err == nil || !strings.HasPrefix(err.Error(), "cannot link the log by name: ") {
		t.Errorf("a file in place of the links' directory: %v", err)
	}
}

// Only links in the directory of links are made and replaced: others may have put something else there.
func TestMakeNameLinkHostile(t *testing.T) {
	dir := t.TempDir()
	logs, elsewhere := filepath.Join(dir, "logs"), filepath.Join(dir, "etc")
	file := filepath.Join(elsewhere, "passwd")
	if err := errors.Join(os.Mkdir(logs, 0o755), os.Mkdir(elsewhere, 0o755), os.WriteFile(file, []byte("root"), 0o644),
		os.Symlink(elsewhere, filepath.Join(logs, ByNameDir))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"passwd", "new"} {
		if l, err := makeNameLink(filepath.Join(logs, "c"), name); err == nil || l != nil {
			t.Errorf("%s in a link's target: %v, %v", name, l, err)
		}
	}
	if names, err := os.ReadDir(elsewhere); err != nil || len(names) != 1 {
		t.Errorf("made through the link: %v, %v", names, err)
	}
	if err := errors.Join(os.Remove(filepath.Join(logs, ByNameDir)), os.Rename(elsewhere, filepath.Join(logs, ByNameDir))); err != nil {
		t.Fatal(err)
	}
	if l, err := makeNameLink(filepath.Join(logs, "c"), "passwd"); err == nil || l != nil {
		t.Errorf("in place of a file: %v, %v", l, err)
	}
	if text, err := os.ReadFile(filepath.Join(logs, ByNameDir, "passwd")); err != nil || string(text) != "root" {
		t.Errorf("the file has %q, %v", text, err)
	}
}
