package devlogd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"devlog/internal/receiver"
	"devlog/internal/syslogconf"
)

func TestParseOptions(t *testing.T) {
	for _, tt := range []struct {
		args, env []string
		want      string // an error, or the options
	}{
		{args: []string{"--listen", "/a", "-listen=/b", "--name=x"}, want: "[{/a 2} {/b 2}] [] x"},
		{args: []string{"--rule", "r"}, env: []string{"DEVLOG_RULE=e", "DEVLOG_NAME=n"}, want: "[] [r] n"},
		{env: []string{"DEVLOG_RULE_B=b", "DEVLOG_RULE=x\n\ny\n", "DEVLOG_RULE_A=a=1", "DEVLOG_RULES=no", "DEVLOG_LISTEN=/l"}, want: "[{/l 2}] [x y a=1 b] "},
		{env: []string{"DEVLOG_HELP=1", "DEVLOG_VERSION=x", "DEVLOG_NAME="}, want: "[] [] "},
		{env: []string{"DEVLOG_CHECK_CONFIG=maybe"}, want: "environment variable DEVLOG_CHECK_CONFIG: want true or false, not \"maybe\""},
		{args: []string{"--await-init=x"}, want: "--await-init: want true or false, not \"x\""},
		{args: []string{"--name", "x", "--", "--name", "y"}, want: "[] [] x"},
		{args: []string{"--rate", "5/m", "--overflow=drop", "--compress-repeats", "--metrics-file", "/m"}, want: "[] [] "},
		{args: []string{"--rate", "x"}, want: "--rate: rate \"x\": want a number of messages from 1 to 1000000"},
		{args: []string{"--rate", "1", "--overflow", "x"}, want: "--overflow: overflow \"x\": want block or drop"},
		{env: []string{"DEVLOG_OVERFLOW=drop"}, want: "--overflow drop needs --rate"},
		{env: []string{"DEVLOG_RATE=1/h"}, want: "environment variable DEVLOG_RATE: rate \"1/h\": want N, N/s or N/m"},
		{args: []string{"--ready-fd", "x"}, want: "--ready-fd: expected the number of a descriptor, not \"x\""},
		{args: []string{"--ready-fd", "0"}, want: "--ready-fd: expected the number of a descriptor, not \"0\""},
		{args: []string{"--rule"}, want: "--rule needs a value; see devlogd --help"},
		{args: []string{"--rulez", "r"}, want: "unknown argument \"--rulez\"; see devlogd --help"},
		{args: []string{"x"}, want: "unknown argument \"x\"; see devlogd --help"},
		{args: []string{"--name", "a", "--name", "b"}, want: "--name is given twice"},
		{args: []string{"--type", "stream"}, want: "[] [] "},
		{args: []string{"--listen", "/a", "--type", "stream"}, want: "[{/a 1}] [] "},
		{args: []string{"--type", "stream", "--listen", "/a", "--listen", "/b"}, want: "[{/a 1} {/b 1}] [] "},
		{args: []string{"--listen", "/a", "--type", "dgram", "--listen", "/b", "--type", "stream"}, want: "[{/a 2} {/b 1}] [] "},
		{args: []string{"--type", "stream", "--listen", "/a", "--type", "dgram", "--listen", "/b"}, want: "[{/a 1} {/b 2}] [] "},
		{args: []string{"--listen", "/a", "--type", "stream", "--listen", "/b"}, want: "[{/a 1} {/b 2}] [] "},
		{args: []string{"--listen", "/a", "--listen", "/b", "--type", "stream"}, want: "[{/a 1} {/b 1}] [] "},
		{env: []string{"DEVLOG_LISTEN=/a\n/b", "DEVLOG_TYPE=stream"}, want: "[{/a 1} {/b 1}] [] "},
		{args: []string{"--type", "x"}, want: "--type: expected dgram or stream, not \"x\""},
		{args: []string{"--name", "a b"}, want: "--name \"a b\": a blank, control or non-ASCII character at byte 2; hint: use letters, digits, '.' and '-'"},
		{args: []string{"--name", strings.Repeat("x", 256)}, want: "--name: 256 bytes are too long: at most 255 are possible"},
	} {
		o, err := parseOptions(tt.args, tt.env, false)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(o.receiver.Listen, " ", o.rules.texts, " ", o.receiver.Name)
		}
		if got != tt.want {
			t.Errorf("%q %q: got %q, want %q", tt.args, tt.env, got, tt.want)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	f.Add("--rule\x00x\x00--name=y", "DEVLOG_RULE_A=b\x00DEVLOG_AWAIT_INIT=1")
	f.Fuzz(func(t *testing.T, args, env string) {
		o, err := parseOptions(strings.Split(args, "\x00"), strings.Split(env, "\x00"), false)
		if err == nil && (strings.ContainsAny(o.receiver.Name, " \n") || slices.ContainsFunc(o.receiver.Listen, func(l receiver.Listen) bool { return l.Kind == 0 })) {
			t.Fatalf("%q %q: %+v", args, env, o)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q %q: error of several lines: %v", args, env, err)
		}
	})
}

// Unknown variables are reported; those of options are not.
func TestNotices(t *testing.T) {
	var env []string
	for _, f := range (&options{}).flags() {
		if f.name != "help" && f.name != "version" && !strings.HasPrefix(f.name, "node") {
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
	list := parsed(t, "*.* -/var/log/devlog/{name}/m.json;JSON", "*.* /x", "*.* |/run/{name}")
	if err := expand(list, "web;1"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/var/log/devlog/web;1/m.json", "/x", "/run/web;1"} {
		if list[i].Path != want {
			t.Errorf("%s, want %s", list[i].Path, want)
		}
	}
	for _, name := range []string{"..", ".", "a/b"} {
		if err := expand(parsed(t, "*.* /{name}"), name); err == nil || !strings.Contains(err.Error(), "cannot stand for {name}") {
			t.Errorf("%s: %v", name, err)
		}
		if err := expand(parsed(t, "*.* /x"), name); err != nil {
			t.Errorf("%s, which no rule has: %v", name, err)
		}
	}
}

// parsed are rules.
func parsed(t testing.TB, texts ...string) []syslogconf.Rule {
	t.Helper()
	list, err := syslogconf.Load("", texts, "")
	if err != nil {
		t.Fatal(err)
	}
	return list
}
