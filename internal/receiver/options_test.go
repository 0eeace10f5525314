package receiver

import (
	"slices"
	"strings"
	"testing"
)

// What is passed over is said, and no variable of an option is.
func TestNotices(t *testing.T) {
	var env []string
	for _, f := range (&options{}).flags() {
		if f.name != "help" && f.name != "version" {
			env = append(env, "DEVLOG_"+strings.ToUpper(strings.ReplaceAll(f.name, "-", "_"))+"=")
		}
	}
	for _, tt := range []struct{ args, env, want []string }{
		{nil, env, nil},
		{[]string{"--notice", "a", "--notice", "b"}, []string{"DEVLOG_NAEM=x"},
			[]string{"a", "b", "ignored: unknown environment variable DEVLOG_NAEM"}},
	} {
		if o, err := parseOptions(tt.args, tt.env, false); err != nil || !slices.Equal(o.notices, tt.want) {
			t.Errorf("%q %q: %q, %v, want %q", tt.args, tt.env, o.notices, err, tt.want)
		}
	}
}
