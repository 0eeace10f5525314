package syslogconf

import (
	"slices"
	"testing"
)

func TestRulesFromEnv(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		want []string
	}{
		{"none", []string{"PATH=/bin", "DEVLOG_RULES=x", "XDEVLOG_RULE=y"}, nil},
		{"one", []string{"DEVLOG_RULE=*.* -/a"}, []string{"*.* -/a"}},
		{"one a line, blank ones passed over", []string{"DEVLOG_RULE=*.* /a\n\n \nmail.* /b\n"}, []string{"*.* /a", "mail.* /b"}},
		{"by name", []string{"DEVLOG_RULE_2=b.* /b", "DEVLOG_RULE_1=a.* /a", "DEVLOG_RULE=c.* /c"}, []string{"c.* /c", "a.* /a", "b.* /b"}},
		{"a value with =", []string{"DEVLOG_RULE=mail.=err /m"}, []string{"mail.=err /m"}},
	} {
		if got := RulesFromEnv(tt.env); !slices.Equal(got, tt.want) {
			t.Errorf("%s: RulesFromEnv(%q) = %q, want %q", tt.name, tt.env, got, tt.want)
		}
	}
}
