package words

import (
	"reflect"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	names := []string{"prestart", "createRuntime", "poststart", "poststop", "rule", "rules", "all", "dry-run"}
	for word, want := range map[string]string{
		"prestrat": "prestart", "pre-start": "prestart", "create_runtime": "createRuntime", "CREATERUNTME": "createRuntime",
		"poststpo": "poststop", "rulez": "rule", "ruless": "rules", "rlue": "rule", "dryrun": "dry-run", "al": "",
		"": "", "foo": "", "startup": "", "prestop": "", "all": "all",
		strings.Repeat("prestart", 10): "",
	} {
		if got := Near(word, names); got != want {
			t.Errorf("Near(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ba", 1}, {"abc", "ac", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	const end = ": it is no option's, and passed over"
	for _, tt := range []struct {
		name    string
		environ []string
		want    []string
	}{
		{"none", []string{"PATH=/bin", "DEVLOGD_STATE=3", "XDEVLOG_FOO=1", "DEVLOG=off"}, nil},
		{"known", []string{"DEVLOG_RULE=*.* /x", "DEVLOG_RULE_A=", "DEVLOG_RUNTIME=crun", "DEVLOG_LISTEN=/x", "DEVLOG_TEST_BIN=/x"}, nil},
		{"unknown, sorted", []string{"DEVLOG_RULX=*.* /x", "DEVLOG_FOO"},
			[]string{"environment variable DEVLOG_FOO" + end, "environment variable DEVLOG_RULX (did you mean DEVLOG_RULE?)" + end}},
		{"long", []string{"DEVLOG_" + strings.Repeat("x", 1000)},
			[]string{"environment variable DEVLOG_" + strings.Repeat("x", 57) + "..." + end}},
	} {
		if got := UnknownVariables(tt.environ); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	var many []string
	for range 1000 {
		many = append(many, "DEVLOG_X=1")
	}
	if got := UnknownVariables(many); len(got) != maxUnknown {
		t.Errorf("%d of 1000 are told of, want %d", len(got), maxUnknown)
	}
}
