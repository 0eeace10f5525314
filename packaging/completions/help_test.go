package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseFlags(t *testing.T) {
	const help = `usage: x [flags]

  --listen PATH      receive at PATH (may be repeated); other
                     sockets are inherited
  --type TYPE        type of the sockets: dgram (the default) or stream
  --version, --help
  -- COMMAND ARGS... run this

OPTIONS:
   --rule RULE [ --rule RULE ]  a RULE; may be repeated [$DEVLOG_RULE, one a line; $DEVLOG_RULE_*]
   --host                       the host: keep it (default: false) [$DEVLOG_HOST]
   --config FILE                a FILE as in x.conf(5) (default: none)
   --help, -h                   show help
`
	want := []flag{
		{name: "listen", value: "PATH", usage: "receive at PATH; other sockets are inherited", repeated: true},
		{name: "type", value: "TYPE", usage: "type of the sockets", choices: []string{"dgram", "stream"}},
		{name: "version"},
		{name: "help"},
		{name: "rule", value: "RULE", usage: "a RULE", repeated: true},
		{name: "host", usage: "the host: keep it"},
		{name: "config", value: "FILE", usage: "a FILE as in x.conf(5)"},
		{name: "help", short: "h", usage: "show help"},
	}
	got := parseFlags(help)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("flag %d: got %+v\nwant %+v", i, got, want)
		}
	}
}

func TestParseCommands(t *testing.T) {
	const help = "NAME:\n   x\n\nCOMMANDS:\n   check, c  look: only look\n   undo      put back\n\nOPTIONS:\n   --help  show help\n"
	want := []command{{name: "check", usage: "look: only look"}, {name: "undo", usage: "put back"}}
	if got := parseCommands(help); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := parseCommands("no commands"); got != nil {
		t.Errorf("got %+v of nothing", got)
	}
}

// TestQuoting: what help says is text in a shell, whatever is in it.
func TestQuoting(t *testing.T) {
	p := &program{name: "x", flags: []flag{{name: "a", value: "V", usage: `it's [a] \: b`}}}
	if got, want := zsh(p), `'--a=[it'\''s \[a\] \\\: b]:V: '`; !strings.Contains(got, want) {
		t.Errorf("zsh: %s\nwant %s", got, want)
	}
	if got, want := fish(p), `-d 'it\'s [a] \\: b'`; !strings.Contains(got, want) {
		t.Errorf("fish: %s\nwant %s", got, want)
	}
}

func FuzzParseHelp(f *testing.F) {
	for _, s := range []string{"   --pid N   process [$DEVLOG_PID]\n", "  --a, -b, --c V  x: y or z\n", "\nCOMMANDS:\n   a, b  c\n\n", "  --, -x\n     y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, help string) {
		for _, l := range parseFlags(help) {
			if l.name == "" || strings.Contains(l.usage, "\n") {
				t.Errorf("%q: a flag %+v", help, l)
			}
		}
		for _, c := range parseCommands(help) {
			if strings.ContainsAny(c.name+c.usage, "\n") {
				t.Errorf("%q: a command %+v", help, c)
			}
		}
	})
}
