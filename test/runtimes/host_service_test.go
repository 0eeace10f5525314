package runtimes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// check reports that the service restarts the host's watcher, also after a restart.
func TestHostServiceChecked(t *testing.T) {
	s := host.NewSystemdHost(t)
	text, err := os.ReadFile(host.HookFile(t, "devlog-host.service"))
	host.Check(t, err)
	to := filepath.Join(s.Rootfs, "etc/systemd/system/devlog-host.service")
	host.Check(t, os.MkdirAll(filepath.Dir(to), 0o755))
	host.Check(t, os.WriteFile(to, []byte(strings.ReplaceAll(string(text), "/usr/libexec/devlog/", "/opt/devlog/")), 0o644))
	s.Must("/bin/systemctl", "daemon-reload")
	s.Must("/bin/systemctl", "start", "devlog-host.service")
	before := ""
	for range 2 {
		host.Eventually(t, "check names the service of a new watcher", func() bool {
			out := s.Hook("check", "--host").Out
			said := strings.Contains(out, "; restarted by systemd if killed (devlog-host.service)\n") && out != before
			if said {
				before = out
			}
			return said
		})
		s.Must("/bin/systemctl", "kill", "--kill-who=main", "-s", "KILL", "devlog-host.service")
	}
	host.EndSystemd(t, s.LXC)
}
