package running

import (
	"testing"
)

func TestParseUnit(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"0::/\n":                             "",
		"0::/devlog.slice/devlogd.service\n": "devlogd.service",
		"9:name=systemd:/lxc/x/devlog.slice/devlogd.service\n8:pids:/\n": "devlogd.service",
		"0::/system.slice/devlogd.service\n":                             "devlogd.service",
		"0::/system.slice/devlog-host.service\n":                         "devlog-host.service",
		"0::/devlogd.service\n":                                          "",
		"0::/devlog.slice/other.service\n":                               "",
		"0::/devlog.slice/devlogd.service/sub\n":                         "",
	} {
		if got := parseUnit(text); got != want {
			t.Errorf("parseUnit(%q) = %q, want %q", text, got, want)
		}
	}
}
