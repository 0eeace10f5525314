package environ

import (
	"reflect"
	"strings"
	"testing"
)

func TestUnknown(t *testing.T) {
	const begin = "ignored: unknown environment variable "
	for _, tt := range []struct {
		name    string
		environ []string
		want    []string
	}{
		{"none", []string{"PATH=/bin", "DEVLOGD_STATE=3", "XDEVLOG_FOO=1", "DEVLOG=off"}, nil},
		{"known", []string{"DEVLOG_RULE=*.* /x", "DEVLOG_RULE_A=", "DEVLOG_RUNTIME=crun", "DEVLOG_LISTEN=/x", "DEVLOG_TEST_BIN=/x"}, nil},
		{"unknown, sorted", []string{"DEVLOG_RULX=*.* /x", "DEVLOG_FOO"}, []string{begin + "DEVLOG_FOO", begin + "DEVLOG_RULX"}},
		{"long", []string{"DEVLOG_" + strings.Repeat("x", 1000)}, []string{begin + "DEVLOG_" + strings.Repeat("x", 57) + "..."}},
	} {
		if got := Unknown(tt.environ); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	var many []string
	for range 1000 {
		many = append(many, "DEVLOG_X=1")
	}
	if got := Unknown(many); len(got) != maxUnknown {
		t.Errorf("%d of 1000 are reported, want %d", len(got), maxUnknown)
	}
}
