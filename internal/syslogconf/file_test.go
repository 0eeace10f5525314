package syslogconf

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseFile(t *testing.T) {
	// The blanks in front of a continuation are dropped, those before '\' kept.
	text := "# comment \\\n\n \t# more\n*.info;\\\n   mail.none \\\n\t/var/log/m\nmail.* -/m\r\nnews.* /n"
	rules, err := parseText("f", []byte(text))
	if err != nil || len(rules) != 3 {
		t.Fatalf("%v, %v", rules, err)
	}
	for i, want := range []string{"*.info;mail.none /var/log/m", "mail.* -/m", "news.* /n"} {
		if got := rules[i].String(); got != want {
			t.Errorf("rule %d: got %q, want %q", i, got, want)
		}
	}
}

func TestBlocks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.conf": "*.* /b\n!x\n*.* /bx\n", "a.conf": "# nothing\n", ".c.conf": "wrong\n", "d.txt": "wrong\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := `
# Comments, also those that syslogd of FreeBSD takes for filters.
#- old ---
#!/bin/sh
#!p
!-p,q
*.* /a
!
:msg, contains, "x"
*.* /b
!r mail.* /once
:programname, isequal, "s" /once
*.* /c
:*
!t
include = ` + dir + `/*.conf
mail.* /d;rotate=:7
!*
*.* /e;rotate=1k:1
rotate_size 2k
secure_mode=2
listen :514
udp_size 1024
*.* /dev/kmsg
`
	rules, err := parseText("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"!-p,q *.* /a", `:msg, contains, "x" *.* /b`, `!r :msg, contains, "x" mail.* /once`, `:programname, isequal, "s" *.* /once`,
		`:msg, contains, "x" *.* /c`, "*.* /b", "!x *.* /bx", "!t mail.* /d;rotate=:7", "*.* /e;rotate=1024:1", "*.* /dev/kmsg",
	}
	for i, r := range rules {
		if i >= len(want) || r.String() != want[i] {
			t.Errorf("rule %d: %s", i, r)
		}
	}
	if len(rules) != len(want) {
		t.Fatalf("%d rules", len(rules))
	}
	for i, want := range map[int]Rotation{0: {Size: 2048, Count: 5}, 7: {Size: 2048, Count: 7}, 8: {Size: 1024, Count: 1}, 9: {}} {
		if rules[i].Rotation != want {
			t.Errorf("%s: %+v", rules[i], rules[i].Rotation)
		}
	}
}

// sysklogd's own file is taken as it is.
func TestSysklogdsFile(t *testing.T) {
	text := `auth,authpriv.*			 /var/log/auth.log
*.*;auth,authpriv.none		-/var/log/syslog
kern.*				-/var/log/kern.log
mail.err			 /var/log/mail.err
*.=info;*.=notice;*.=warn;\
	auth,authpriv.none;\
	cron,daemon.none;\
	mail,news.none		-/var/log/messages
*.=emerg			*
secure_mode 1
include /no/such/directory/*.conf
`
	if rules, err := parseText("f", []byte(text)); err != nil || len(rules) != 6 {
		t.Errorf("%v, %v", rules, err)
	}
}

// parseText is Load of a file called name with that text.
func parseText(name string, data []byte) ([]Rule, error) {
	p := parser{files: map[string]bool{name: true}}
	p.parse(name, data)
	return p.finish(nil, name)
}

// A filter on a line of its own is one, whatever is behind its first character;
// only a '#' may stand before it.
func TestFilterLines(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"!-sshd", "!-sshd *.* /f"},
		{"!-a,b", "!-a,b *.* /f"},
		{"!+sshd", "!sshd *.* /f"},
		{"! -sshd", "!-sshd *.* /f"},
		{"!- sshd", "!-sshd *.* /f"},
		{"!sshd", "!sshd *.* /f"},
		{"!-devd\t# as FreeBSD has it", "!-devd *.* /f"},
		{"#!-sshd", "*.* /f"},
		{"#:msg, contains, \"x\"", "*.* /f"},
		{"+web,db", "f:1:1: filters by host (+HOST, -HOST) are not supported"},
		{"-web", "f:1:1: filters by host (+HOST, -HOST) are not supported"},
		{":msg, contains, \"# x\" # y", ":msg, contains, \"# x\" *.* /f"},
		{"!x # a\n!*   # b", "*.* /f"},
		{"!x\n!", "*.* /f"},
		{"a!sshd", "f:1:7: expected an action"},
		{"x+other", "f:1:8: expected an action"},
		{"--web", "f:1:1: filters by host"},
		{"##!sshd", "*.* /f"},
		{"# !sshd", "*.* /f"},
		{"#a!sshd", "*.* /f"},
		{"secure_mode 1  # no network", "*.* /f"},
		{"rotate_size 1M # each", "*.* /f"},
		{"include /no/such/*.conf # none", "*.* /f"},
		{"include /no/such.conf", "*.* /f"},
	} {
		rules, err := parseText("f", []byte(tt.line+"\n*.* /f\n"))
		got := ""
		if err != nil {
			got = err.Error()
		} else if len(rules) == 1 {
			got = rules[0].String()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

// FreeBSD's own file is taken, but for the directories that it includes.
func TestFreeBSDsFile(t *testing.T) {
	text := `*.err;kern.warning;auth.notice;mail.crit		/dev/console
*.notice;authpriv.none;kern.debug;lpr.info;mail.crit;news.err	/var/log/messages
security.*					/var/log/security
auth.info;authpriv.info				/var/log/auth.log
#console.info					/var/log/console.log
!-devd
*.=debug					/var/log/debug.log
*.emerg						*
daemon.info					/var/log/daemon.log
!ppp
*.*						/var/log/ppp.log
!*
include						/etc/syslog.d/*.conf
`
	rules, err := parseText("f", []byte(text))
	if err != nil || len(rules) != 8 || rules[5].String() != "!-devd *.emerg *" || rules[7].String() != "!ppp *.* /var/log/ppp.log" {
		t.Errorf("%v, %v", rules, err)
	}
}

func TestParseFileErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"*.* /f\n\n  foo.* /f\n", "/c:3:3: unknown facility \"foo\""},
		{"*.info;\\\n   foo.none \\\n /f", "/c:2:4: unknown facility \"foo\""},
		{"*.info \\\n  @x", "/c:2:3: sending to a remote host"},
		{"# nothing\n", "/c: no rule in it"},
		{"*.* /f\nfoo\nbar\n", "/c:2:4: expected an action after the selector, such as /var/log/messages (and 1 more wrong lines)"},
		{"*.* /f;JSON\n*.* /f", "/c:2: /f is written to by another rule (/c:1) with other options"},
		{"*.* /f\n*.* |//f", "/c:2: /f is written to by another rule (/c:1) with other options"},
		{"notify /bin/x\n", "/c:1:1: notify (a program to run after a rotation) is not supported"},
		{"rotate_size x\n", "/c:1:13: size \"x\": expected"},
		{"rotate_count = x\n", "/c:1:16: count \"x\": expected"},
		{"include x/*.conf\n", "/c:1:9: expected an absolute path of files to include"},
		{"include /etc/syslog.d\n*.err /f\n", "/c:1:9: cannot read /etc/syslog.d: no such file or directory; to include the files of a directory, name them, such as /etc/syslog.d/*.conf"},
		{"include\t\t/usr/bin\n*.err /f\n", "/c:1:10: /usr/bin is a directory: to include the files of a directory, name them, such as /usr/bin/*.conf"},
		{"include /usr/bin/ # all\n*.err /f\n", "/c:1:9: /usr/bin/ is a directory"},
		{"include /[\n", "/c:1:9: bad pattern \"/[\": syntax error in pattern"},
		{"*.* /f\x00", "/c:1:7: a control character"},
	} {
		if _, err := parseText("/c", []byte(tt.text)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestMatches(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.conf", ".hidden.conf", "a.conf", "c.conf~"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := matches(filepath.Join(dir, "*.conf"))
	if want := []string{filepath.Join(dir, "a.conf"), filepath.Join(dir, "b.conf")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxConfig+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		big:                          "has more than 1048576 bytes",
		dir:                          "not a regular file",
		filepath.Join(dir, "absent"): "no such file",
	} {
		if _, err := Load(path, nil, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(config, []byte("mail.* /m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := func(rules []Rule, err error) string {
		if err != nil {
			return err.Error()
		}
		var list []string
		for _, r := range rules {
			list = append(list, r.String())
		}
		return strings.Join(list, "|")
	}
	if got := text(Load(config, []string{"*.* -/a"}, "/x")); got != "*.* -/a|mail.* /m" {
		t.Errorf("both: %s", got)
	}
	if got := text(Load("", []string{"*.* -/a"}, "/x")); got != "*.* -/a" {
		t.Errorf("rules: %s", got)
	}
	if got := text(Load("", []string{"*.*"}, "/x")); !strings.Contains(got, "expected an action") {
		t.Errorf("wrong rule: %s", got)
	}
	if hasDefault() {
		t.Skip("this machine has a " + DefaultConfig)
	}
	if got := text(Load("", nil, "/x")); got != "*.* -/x|*.crit /dev/kmsg" {
		t.Errorf("default: %s", got)
	}
}

// The rules in force, written out in full, are those that are loaded.
func TestInFull(t *testing.T) {
	config := filepath.Join(t.TempDir(), "c")
	if err := os.WriteFile(config, []byte("mail.* /m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	given := []string{"*.* -/a"}
	if file, rules, isDefault, err := InFull(config, given, "/x"); file != config || !slices.Equal(rules, given) || isDefault || err != nil {
		t.Errorf("both: %q, %q, %t, %v", file, rules, isDefault, err)
	}
	if _, _, _, err := InFull("", []string{"*.*"}, "/x"); err == nil {
		t.Error("a wrong rule is right")
	}
	if hasDefault() {
		t.Skip("this machine has a " + DefaultConfig)
	}
	if file, rules, isDefault, err := InFull("", nil, "/x"); file != "" || !slices.Equal(rules, Default("/x")) || !isDefault || err != nil {
		t.Errorf("default: %q, %q, %t, %v", file, rules, isDefault, err)
	}
}

func TestNestedInclude(t *testing.T) {
	dir := t.TempDir()
	inner, outer := filepath.Join(dir, "inner"), filepath.Join(dir, "outer")
	for path, text := range map[string]string{inner: "\n include /x\n*.* /i\nfoo\n", outer: "include " + inner + "\nbar\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(outer, nil, "")
	var wrong WrongLines
	if !errors.As(err, &wrong) || len(wrong) != 3 {
		t.Fatalf("%v", err)
	}
	for i, want := range []string{inner + ":2:10: an included file cannot include others", inner + ":4:4: expected", outer + ":2:4: expected"} {
		if !strings.HasPrefix(wrong[i].Error(), want) {
			t.Errorf("got %v, want %s", wrong[i], want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("# c\n*.info;\\\n mail.none \\\n /f\n"))
	f.Add([]byte("\\\n\\\n"))
	f.Add([]byte("!p\n*.* /f\n:msg,contains,\"x\"\n*.* /g;JSON\nrotate_size=1k\n!* *.* /h;rotate=:2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("include")) {
			return // reads what is on this machine
		}
		rules, err := parseText("name", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "name:") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		var text []string
		for _, r := range rules {
			text = append(text, r.String())
		}
		again, err := parseText("name", []byte(strings.Join(text, "\n")))
		// A path that ends in '\' continues its line when written alone, and
		// what a rule has from the settings is not written.
		if strings.Contains(string(data), `\`) || strings.Contains(string(data), "rotate") {
			return
		}
		if err != nil || len(again) != len(rules) {
			t.Fatalf("%q: %v, %v", data, again, err)
		}
		for i := range again {
			again[i].where = rules[i].where
			if !reflect.DeepEqual(again[i], rules[i]) {
				t.Fatalf("%q: %+v, %+v", data, again[i], rules[i])
			}
		}
	})
}
