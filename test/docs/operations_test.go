package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"devlog/test/host"
)

// The documented clearing up removes logs that are old, and not the directory in
// which a receiver of a quiet container will write.
func TestOldLogs(t *testing.T) {
	host.NeedContainers(t)
	h := host.NewHost(t)
	script := host.Documented(t, "../docs/operations.md")
	old := time.Now().AddDate(0, 0, -40)
	all := map[string]*host.Cheap{}
	for _, name := range []string{"quiet", "quie", "ended", "recent"} {
		all[name] = host.NewCheap(t, h, name, host.CheapOptions{})
		if r := all[name].Hook(false, "repair"); r.Code != 0 {
			t.Fatalf("repair: %+v", r)
		}
		all[name].WantSent(t, all[name].Log(false), "first")
		if name != "quiet" {
			all[name].Stop()
		}
		if name != "recent" {
			host.Eventually(t, "only the quiet one is received from", func() bool { return len(h.Receivers()) == 1 })
			host.Check(t, os.Chtimes(all[name].Log(false), old, old))
		}
	}
	h.Must("mkdir", "-p", "/run/devlog")
	for _, name := range []string{"old", "new"} {
		host.Check(t, os.WriteFile(h.Path("/run/devlog/"+name+".log"), nil, 0o600))
	}
	host.Check(t, os.Chtimes(h.Path("/run/devlog/old.log"), old, old))
	links := h.Path("/var/log/devlog/by-name")
	host.Check(t, os.Mkdir(links, 0o755))
	for _, name := range []string{"ended", "recent"} {
		host.Check(t, os.Symlink("../"+name, links+"/"+name))
	}
	h.Must("sh", "-euc", script)
	for name, kept := range map[string]bool{"/var/log/devlog/quiet": true, "/var/log/devlog/quie": false, "/var/log/devlog/ended": false,
		"/var/log/devlog/recent": true, "/var/log/devlog/by-name/ended": false, "/var/log/devlog/by-name/recent": true, "/run/devlog/old.log": false, "/run/devlog/new.log": true} {
		if host.Exists(h.Path(name)) != kept {
			t.Errorf("%s is left: %t, want %t", name, !kept, kept)
		}
	}
	all["quiet"].WantSent(t, all["quiet"].Log(false), "second")
}

// Two rules are two variables, as they are documented.
func TestLXCTwoRules(t *testing.T) {
	host.NeedContainers(t, "lxc")
	h := host.NewHost(t)
	c := host.NewLXC(t, h, "c1", strings.Split(strings.TrimSpace(host.Documented(t, "../docs/operations.md")), "\n")...)
	if r := c.Execute("client t 22 letter; client t 14 other"); r.Code != 0 {
		t.Fatalf("lxc-execute: %+v", r)
	}
	host.WantOnce(t, filepath.Join(c.Rootfs, "var/log/all"), "letter", "other")
	host.WantOnce(t, filepath.Join(c.Rootfs, "var/log/mail.log"), "letter")
	host.WantNowhere(t, filepath.Join(c.Rootfs, "var/log/mail.log"), "other")
}
