package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinkByName(t *testing.T) {
	logs := t.TempDir()
	name := filepath.Join(logs, byNameDir, "shop_web-0_nginx")
	target := func() string {
		to, err := os.Readlink(name)
		if err != nil {
			t.Error(err)
		}
		return to
	}
	for _, id := range []string{"c1", "c2", "c2"} { // the container was restarted
		dir := filepath.Join(logs, id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := linkByName(dir, "shop_web-0_nginx"); err != nil || target() != "../"+id {
			t.Errorf("%s: %v; the link leads to %s", id, err, target())
		}
	}
	for _, wrong := range []string{"", "..", "a/b", strings.Repeat("x", 256)} {
		if err := linkByName(filepath.Join(logs, "c1"), wrong); err != nil {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := linkByName(filepath.Join(logs, "c3"), "shop_web-0_nginx"); err != nil || target() != "../c2" {
		t.Errorf("without a log: %v; the link leads to %s", err, target())
	}
	entries, err := os.ReadDir(filepath.Join(logs, byNameDir))
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := os.WriteFile(filepath.Join(logs, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := linkByName(filepath.Join(logs, "x"), "y"); err != nil {
		t.Errorf("a file in place of the directory: %v", err)
	}
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, byNameDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(blocked, "c1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := linkByName(filepath.Join(blocked, "c1"), "y"); err == nil || !strings.Contains(err.Error(), "link the log by name") {
		t.Errorf("a file in place of the links' directory: %v", err)
	}
}
