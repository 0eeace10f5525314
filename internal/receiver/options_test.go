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

func TestExpand(t *testing.T) {
	list := rules(t, "*.* -/var/log/devlog/{name}/m.json;JSON", "*.* /x", "*.* |/run/{name}")
	if err := expand(list, "web;1"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/var/log/devlog/web;1/m.json", "/x", "/run/web;1"} {
		if list[i].Path != want {
			t.Errorf("%s, want %s", list[i].Path, want)
		}
	}
	for _, name := range []string{"..", ".", "a/b"} {
		if err := expand(rules(t, "*.* /{name}"), name); err == nil || !strings.Contains(err.Error(), "cannot stand for {name}") {
			t.Errorf("%s: %v", name, err)
		}
		if err := expand(rules(t, "*.* /x"), name); err != nil {
			t.Errorf("%s, which no rule has: %v", name, err)
		}
	}
}
