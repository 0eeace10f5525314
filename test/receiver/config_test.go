package receiver

import (
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// Without other rules, those of /etc/devlogd.conf and /etc/devlogd.d apply, together or alone.
func TestDefaultConfig(t *testing.T) {
	host.Need(t, "root", "gcc")
	h := host.NewHost(t)
	h.Must("sh", "-c", "mount -t tmpfs tmpfs /etc && mkdir /etc/devlogd.d")
	receiver := filepath.Join(host.BinDir, "devlogd")
	put := func(path, text string) { h.Must("sh", "-c", "printf '%s' '"+text+"' > "+path) }
	put("/etc/devlogd.d/20-b.conf", "*.* -/run/b\n")
	put("/etc/devlogd.d/10-a.conf", "wrong\n")
	put("/etc/devlogd.d/.hidden.conf", "wrong\n")
	if r := h.Do(receiver, "--check-config"); r.Code != 2 || !strings.Contains(r.ErrOut, "/etc/devlogd.d/10-a.conf:1:6: expected an action") {
		t.Errorf("a wrong line: %+v", r)
	}
	put("/etc/devlogd.d/10-a.conf", "mail.* -/run/a\n")
	for _, config := range []string{"", "user.* -/run/c\n"} {
		if config != "" {
			put("/etc/devlogd.conf", config)
		}
		t.Run("with "+config, func(t *testing.T) {
			h := &host.Host{T: t, Pid: h.Pid}
			rule := strings.TrimSpace(config)
			startReceiver(t, h, "--listen", "/dev/log")
			for _, priority := range []string{"14", "22"} {
				if r := h.Do(host.Client, "x", priority, "hello "+priority+rule); r.Code != 0 {
					t.Fatalf("%+v", r)
				}
			}
			host.WantOnce(t, h.Path("/run/b"), "hello 14"+rule, "hello 22"+rule)
			host.WantOnce(t, h.Path("/run/a"), "hello 22"+rule)
			if config != "" {
				host.WantOnce(t, h.Path("/run/c"), "hello 14"+rule)
			}
		})
	}
}
