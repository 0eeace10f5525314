package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// documented is the block of a document that names the running test.
func documented(t *testing.T, file string) string {
	t.Helper()
	for _, b := range blocks(t, file) {
		if b.marker == "run: "+t.Name() {
			return b.text
		}
	}
	t.Fatalf("%s has no block for this test", file)
	return ""
}

// The documented clearing up removes logs that are old, and not the directory in
// which a receiver of a quiet container will write.
func TestOldLogs(t *testing.T) {
	needContainers(t)
	h := NewHost(t)
	script := documented(t, "../docs/operations.md")
	old := time.Now().AddDate(0, 0, -40)
	all := map[string]*Cheap{}
	for _, name := range []string{"quiet", "quie", "ended", "recent"} {
		all[name] = NewCheap(t, h, name, cheapOptions{})
		if r := all[name].Hook(false, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		all[name].wantSent(t, all[name].Log(false), "first")
		if name != "quiet" {
			all[name].Stop()
		}
		if name != "recent" {
			eventually(t, "only the quiet one is received from", func() bool { return len(h.Receivers()) == 1 })
			check(t, os.Chtimes(all[name].Log(false), old, old))
		}
	}
	h.Must("mkdir", "-p", "/run/devlog")
	for _, name := range []string{"old", "new"} {
		check(t, os.WriteFile(h.Path("/run/devlog/"+name+".log"), nil, 0o600))
	}
	check(t, os.Chtimes(h.Path("/run/devlog/old.log"), old, old))
	links := h.Path("/var/log/devlog/by-name")
	check(t, os.Mkdir(links, 0o755))
	for _, name := range []string{"ended", "recent"} {
		check(t, os.Symlink("../"+name, links+"/"+name))
	}
	h.Must("sh", "-euc", script)
	for name, kept := range map[string]bool{"/var/log/devlog/quiet": true, "/var/log/devlog/quie": false, "/var/log/devlog/ended": false,
		"/var/log/devlog/recent": true, "/var/log/devlog/by-name/ended": false, "/var/log/devlog/by-name/recent": true, "/run/devlog/old.log": false, "/run/devlog/new.log": true} {
		if exists(h.Path(name)) != kept {
			t.Errorf("%s is left: %t, want %t", name, !kept, kept)
		}
	}
	all["quiet"].wantSent(t, all["quiet"].Log(false), "second")
}

// Two rules are two variables, as they are documented.
func TestLXCTwoRules(t *testing.T) {
	needContainers(t, "lxc")
	h := NewHost(t)
	c := NewLXC(t, h, "c1", strings.Split(strings.TrimSpace(documented(t, "../docs/operations.md")), "\n")...)
	if r := c.Execute("client t 22 letter; client t 14 other"); r.Code != 0 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	wantOnce(t, filepath.Join(c.Rootfs, "var/log/all"), "letter", "other")
	wantOnce(t, filepath.Join(c.Rootfs, "var/log/mail.log"), "letter")
	wantNowhere(t, filepath.Join(c.Rootfs, "var/log/mail.log"), "other")
}
