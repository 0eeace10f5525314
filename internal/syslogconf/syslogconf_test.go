package syslogconf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/internal/syslog"
)

// selected lists what a rule matches of mail, kern, auth, authpriv and user,
// as fac:SEVERITIES with a digit for each severity.
func selected(r Rule) string {
	var parts []string
	for _, name := range []string{"kern", "user", "mail", "auth", "authpriv"} {
		f, _ := syslog.ParseFacility(name)
		digits := ""
		for s := range syslog.Severity(8) {
			if r.Match(f, s) {
				digits += string(rune('0' + s))
			}
		}
		if digits != "" {
			parts = append(parts, name+":"+digits)
		}
	}
	return strings.Join(parts, " ")
}

func TestSelectors(t *testing.T) {
	const all = "01234567"
	for _, tt := range []struct{ selector, want string }{
		{"*.*", "kern:" + all + " user:" + all + " mail:" + all + " auth:" + all + " authpriv:" + all},
		{"mail.err", "mail:0123"},
		{"mail.error", "mail:0123"},
		{"mail.=err", "mail:3"},
		{"MAIL.Err", "mail:0123"},
		{"mail,kern.crit", "kern:012 mail:012"},
		{"security.emerg", "auth:0"},
		{"*.info;mail.none;authpriv.none", "kern:0123456 user:0123456 auth:0123456"},
		{"*.crit;auth,authpriv.none", "kern:012 user:012 mail:012"},
		{"kern.*;kern.!warning", "kern:567"},
		{"kern.*;kern.!=warning", "kern:0123567"},
		{"kern.!warning", ""},
		{"kern.*;kern.!*", ""},
		{"kern.info;kern.!err", "kern:456"},
		{"mail.info;mail.none;mail.=debug", "mail:7"},
		{"mail.=info;mail.=notice", "mail:56"},
		{"mail.debug;", "mail:" + all},
		{"*.none", ""},
		{"mail.panic", "mail:0"},
		{"mail.warn", "mail:01234"},
	} {
		r, err := ParseRule(tt.selector + "\t -/f")
		if err != nil {
			t.Errorf("%s: %v", tt.selector, err)
		} else if got := selected(r); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.selector, got, tt.want)
		}
	}
}

func TestMatchOutOfRange(t *testing.T) {
	r, err := ParseRule("*.* /f")
	if err != nil || r.Match(24, 0) || r.Match(255, 0) || r.Match(1, 8) {
		t.Errorf("%v, %v", r, err)
	}
}

func TestActions(t *testing.T) {
	for _, tt := range []struct {
		rule, path string
		sync       bool
		text       string
	}{
		{"*.* /var/log/m", "/var/log/m", true, "*.* /var/log/m"},
		{"  *.*\t \t-/var/log//m  ", "/var/log//m", false, "*.* -/var/log//m"},
		{"*.* /dev/kmsg", KernelLog, false, "*.* /dev/kmsg"},
		{"*.* -/dev/kmsg", KernelLog, false, "*.* /dev/kmsg"},
		{"*.* /a b", "/a b", true, "*.* /a b"},
	} {
		r, err := ParseRule(tt.rule)
		if err != nil || r.Path != tt.path || r.Sync != tt.sync || r.String() != tt.text {
			t.Errorf("%q: got %q %v %q, %v", tt.rule, r.Path, r.Sync, r, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ rule, want string }{
		{"", "column 1: empty rule"},
		{"*.*", "column 4: expected an action"},
		{"foo /f", "column 1: expected FACILITY.SEVERITY, found \"foo\""},
		{"mail.foo /f", "column 6: unknown severity \"foo\""},
		{"mail.!=foo /f", "column 8: unknown severity \"foo\""},
		{"mail.info;fool.err /f", "column 11: unknown facility \"fool\""},
		{"mail,fool.err /f", "column 6: unknown facility \"fool\""},
		{"mail,.err /f", "column 6: unknown facility \"\""},
		{";mail.err /f", "column 1: expected FACILITY.SEVERITY"},
		{"mail.err;;mail.err /f", "column 10: expected FACILITY.SEVERITY"},
		{"mail. /f", "column 6: unknown severity \"\""},
		{"*.* @host", "column 5: sending to a remote host (@host) is not supported yet"},
		{"*.* |/f", "column 5: writing to a pipe (|/f) is not supported yet"},
		{"*.* *", "column 5: writing to all users' terminals (*) is not supported yet"},
		{"*.* root,me", "column 5: action \"root,me\" (users' terminals?) is not supported yet"},
		{"*.* -f", "column 5: action \"-f\""},
		{"*.* -/f;rotate=1M:5", "column 8: options after the file (;rotate=1M:5) are not supported yet"},
		{"*.* -/var/log/", "column 5: \"/var/log/\" is a directory"},
		{"include /etc/x", "column 1: expected FACILITY.SEVERITY, found \"include\""},
		{"*.* /f\n*.* /g", "column 7: a rule is one line"},
	} {
		_, err := ParseRule(tt.rule)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.rule, err, tt.want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: not one line: %v", tt.rule, err)
		}
	}
}

func TestParseFile(t *testing.T) {
	// The blanks in front of a continuation are dropped, those before '\' kept.
	text := "# comment \\\n\n \t# more\n*.info;\\\n   mail.none \\\n\t/var/log/m\nmail.* -/m\r\nnews.* /n"
	rules, err := Parse("f", []byte(text))
	if err != nil || len(rules) != 3 {
		t.Fatalf("%v, %v", rules, err)
	}
	for i, want := range []string{"*.info;mail.none /var/log/m", "mail.* -/m", "news.* /n"} {
		if got := rules[i].String(); got != want {
			t.Errorf("rule %d: got %q, want %q", i, got, want)
		}
	}
}

func TestParseFileErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"*.* /f\n\n  foo.* /f\n", "/c:3:3: unknown facility \"foo\""},
		{"*.info;\\\n   foo.none \\\n /f", "/c:2:4: unknown facility \"foo\""},
		{"*.info \\\n  @x", "/c:2:3: sending to a remote host"},
		{"# nothing\n", "/c: no rule in it"},
	} {
		if _, err := Parse("/c", []byte(tt.text)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %s", tt.text, err, tt.want)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxConfig+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		big:                          "larger than 1 MiB",
		dir:                          "not a regular file",
		filepath.Join(dir, "absent"): "no such file",
	} {
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), want) {
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
	if _, err := os.Stat(DefaultConfig); err == nil {
		t.Skip("this machine has a " + DefaultConfig)
	}
	if got := text(Load("", nil, "/x")); got != "*.* -/x|*.crit /dev/kmsg" {
		t.Errorf("default: %s", got)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"*.info;mail.none;kern.!=err -/f", "*.* /dev/kmsg", "mail,news.=crit\t/a b", "x", "*.* @h", "*.* /f;rotate=1:2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("%q: error of several lines: %v", text, err)
			}
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: String %q: %+v, %v", text, r, again, err)
		}
	})
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("# c\n*.info;\\\n mail.none \\\n /f\n"))
	f.Add([]byte("\\\n\\\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := Parse("name", data)
		if err == nil {
			var text []string
			for _, r := range rules {
				text = append(text, r.String())
			}
			again, err := Parse("name", []byte(strings.Join(text, "\n")))
			// A path that ends in '\' continues its line when written alone.
			if !strings.Contains(string(data), `\`) && (err != nil || !slices.Equal(rules, again)) {
				t.Fatalf("%q: %v, %v", data, again, err)
			}
		} else if !strings.HasPrefix(err.Error(), "name:") || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q: %v", data, err)
		}
	})
}
