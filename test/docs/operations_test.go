package docs

import (
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// Two rules are two variables, as documented.
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
