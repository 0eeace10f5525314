package running

import (
	"testing"
)

func TestParseUnit(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"0::/\n":                               "",
		"0::/devlog.slice/devlog-c1.service\n": "devlog-c1.service",
		"9:name=systemd:/lxc/x/devlog.slice/devlog-c1.service\n8:pids:/\n": "devlog-c1.service",
		"0::/system.slice/devlog-c1.service\n":                             "devlog-c1.service",
		"0::/devlog-c1.service\n":                                          "",
		"0::/devlog.slice/other.service\n":                                 "",
		"0::/devlog.slice/devlog-c1.service/sub\n":                         "",
	} {
		if got := parseUnit(text); got != want {
			t.Errorf("parseUnit(%q) = %q, want %q", text, got, want)
		}
	}
}
