package syslogconf

import (
	"reflect"
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
			if r.Match(&syslog.Message{Facility: f, Severity: s}, nil) {
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
		{"security.emerg", ""},
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
		{"audit.*", ""},
		{"mail.panic", "mail:0"},
		{"mail.warn", "mail:01234"},
		{"2.4", "mail:01234"},
		{"0,2.=7", "kern:7 mail:7"},
		{"mail.crit,kern.=err", "kern:3 mail:012"},
		{"*.*,kern,user.none;auth,authpriv.none", "mail:" + all},
		{"mail.info;mark.*", "mail:0123456"},
		{"mail.!none", "mail:" + all},
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
	for _, m := range []syslog.Message{{Facility: 24}, {Facility: 255}, {Facility: 1, Severity: 8}} {
		if err != nil || r.Match(&m, nil) {
			t.Errorf("%v matches %v, %v", r, m, err)
		}
	}
}

func TestActions(t *testing.T) {
	for _, tt := range []struct {
		rule string
		want Action
		text string // "" is the rule itself
	}{
		{"*.* /var/log/m", Action{Path: "/var/log/m", Sync: true}, ""},
		{"  *.*\t \t-/var/log//m  ", Action{Path: "/var/log//m"}, "*.* -/var/log//m"},
		{"*.* /dev/kmsg", Action{Kind: Kernel, Path: KernelLog}, ""},
		{"*.* -/dev//kmsg ;RFC3164", Action{Kind: Kernel, Path: KernelLog}, "*.* /dev/kmsg"},
		{"*.* -/m  # all of it", Action{Path: "/m"}, "*.* -/m"},
		{"*.* /m\t#", Action{Path: "/m", Sync: true}, "*.* /m"},
		{"*.* -/m ;JSON,gzip # as objects", Action{Path: "/m", Format: syslog.JSON, Rotation: Rotation{Gzip: true}}, "*.* -/m;JSON,gzip"},
		{"*.* /m#n", Action{Path: "/m#n", Sync: true}, ""},
		{`:msg, contains, "a # b" /m # c`, Action{Path: "/m", Sync: true}, `:msg, contains, "a # b" *.* /m`},
		{`:msg, contains, "\" # b" /m`, Action{Path: "/m", Sync: true}, `:msg, contains, "\" # b" *.* /m`},
		{"!-a *.* stdout # b", Action{Kind: Stdout}, "!-a *.* stdout"},
		{"*.* /a b", Action{Path: "/a b", Sync: true}, ""},
		{"*.* |/run/f", Action{Kind: FIFO, Path: "/run/f"}, ""},
		{"*.* -| /dev/kmsg", Action{Kind: FIFO, Path: "/dev/kmsg"}, "*.* |/dev/kmsg"},
		{"*.* /dev/console", Action{Kind: Terminal, Path: "/dev/console"}, ""},
		{"*.* -/dev/tty12;JSON", Action{Kind: Terminal, Path: "/dev/tty12", Format: syslog.JSON}, "*.* /dev/tty12;JSON"},
		{"*.* stdout;json", Action{Kind: Stdout, Format: syslog.JSON}, "*.* stdout;JSON"},
		{"*.* container-stdout", Action{Kind: ContainerStdout}, ""},
		{"*.emerg *", Action{Kind: Everybody}, ""},
		{"*.* journal", Action{Kind: Journal}, ""},
		{"*.* syslog;sender", Action{Kind: Syslog, Sender: true}, ""},
		{"!a syslog;rfc5424", Action{Kind: Syslog, Format: syslog.RFC5424}, "!a *.* syslog;RFC5424"},
		{"*.emerg :omusrmsg:*", Action{Kind: Everybody}, "*.emerg *"},
		{"*.* -/m\t ;rotate=10M:5,RFC5424", Action{Path: "/m", Format: syslog.RFC5424, Rotation: Rotation{Size: 10 << 20, Count: 5}}, "*.* -/m;RFC5424,rotate=10485760:5"},
		{"*.* -/m; rotate=2k , gzip;sender,", Action{Path: "/m", Sender: true, Rotation: Rotation{Size: 2048, Gzip: true}}, "*.* -/m;rotate=2048,gzip,sender"},
		{"*.* -/m;rotate=:3", Action{Path: "/m", Rotation: Rotation{Count: 3}}, ""},
		{"*.* -/m;", Action{Path: "/m"}, "*.* -/m"},
		{`:programname, isequal, "sshd" /m`, Action{Path: "/m", Sync: true}, `:programname, isequal, "sshd" *.* /m`},
		{`:msg,!contains,"a\"\\" mail.* -/m`, Action{Path: "/m"}, `:msg, !contains, "a\"\\" mail.* -/m`},
		{`!-a,b :msg,startswith,"x" stdout`, Action{Kind: Stdout}, `!-a,b :msg, startswith, "x" *.* stdout`},
		{`!a -/m;JSON`, Action{Path: "/m", Format: syslog.JSON}, `!a *.* -/m;JSON`},
		{"!* :* *.* /m", Action{Path: "/m", Sync: true}, "*.* /m"},
	} {
		r, err := ParseRule(tt.rule)
		if tt.text == "" {
			tt.text = tt.rule
		}
		if err != nil || r.Action != tt.want || r.String() != tt.text {
			t.Errorf("%q: got %+v %q, %v", tt.rule, r.Action, r, err)
		}
	}
}

func TestFilters(t *testing.T) {
	m := &syslog.Message{Facility: syslog.User, Tag: []byte("postfix/smtpd"), Text: []byte("Hello World"), MsgID: []byte("ID"), SD: []byte("[x]")}
	for filter, want := range map[string]bool{
		`:programname, isequal, "postfix/smtpd"`: true,
		`:programname, isequal, "postfix"`:       true,
		`:programname, isequal, "smtpd"`:         false,
		`:programname, !isequal, "postfix"`:      false,
		`:programname, isequal, "Postfix"`:       false,
		`:programname, contains, "smtp"`:         true,
		`:programname, startswith, "smtp"`:       false,
		`:msg, contains, "o W"`:                  true,
		`:msg, contains, ""`:                     true,
		`:msg, contains, "Hello World!"`:         false,
		`:msg, startswith, "Hell"`:               true,
		`:msg, !startswith, "Hell"`:              false,
		`:msg, isequal, ""`:                      false,
		`:msgid, isequal, "ID"`:                  true,
		`:sd, contains, "x"`:                     true,
		`:data, contains, "y"`:                   false,
		`:hostname, isequal, "box"`:              true,
		`:source, contains, "bo"`:                true,
		`!postfix`:                               true,
		`!+smtpd,postfix`:                        true,
		`!smtpd`:                                 false,
		`!-postfix`:                              false,
		`!-smtpd,x`:                              true,
		`!postfix :msg, contains, "World"`:       true,
		`!postfix :msg, contains, "x"`:           false,
		`!x :msg, contains, "World"`:             false,
	} {
		r, err := ParseRule(filter + " user.* /m")
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		} else if got := r.Match(m, []byte("box")); got != want {
			t.Errorf("%s: got %v", filter, got)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ rule, want string }{
		{"", "column 1: expected a rule"},
		{"!prog", "column 6: expected a rule"},
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
		{"*.* @host", "column 5: sending to a remote host (@host) is not supported:"},
		{"*.* @@(o)host:514", "column 5: sending to a remote host (@@(o)host:514) is not supported:"},
		{"*.* |exec /bin/x", "column 5: running a program for each message (|exec) is not supported: use |PATH of a FIFO"},
		{"*.* | exec /bin/x", "column 6: expected the absolute path of a FIFO after '|', found \"exec /bin/x\""},
		{"*.* exec /bin/x", "column 5: running a program for each message (exec)"},
		{"*.* ^/bin/x;RFC", "column 5: running a program for each message (^/bin/x)"},
		{"*.* ?DynFile", "column 5: rsyslog's file names from a template (?DynFile, a DynFile)"},
		{"*.* -?DynFile;RSYSLOG_FileFormat", "column 5: rsyslog's file names from a template"},
		{`:msg, contains, "x" ?Dyn`, "column 21: rsyslog's file names from a template"},
		{`:msg, contains, "x" { stop }`, "column 21: rsyslog's scripts ({) are not supported"},
		{"*.* :ommysql:h,d,u,p", "column 5: rsyslog's output modules (:ommysql:h,d,u,p)"},
		{"*.* >h,d,u,p", "column 5: writing to a database"},
		{"*.* action(type=\"omfile\" file=\"/m\")", "column 5: rsyslog's scripts (action(type=\"omfile\")"},
		{"mail.debug ifdef(`LOGHOST', /m, @loghost)", "column 12: macros of m4 (ifdef(`LOGHOST',), which Solaris's syslogd expands"},
		{"ifdef(`LOGHOST', ,", "column 1: macros of m4"},
		{")", "column 1: macros of m4"},
		{"include(file=\"/etc/rsyslog.d/*.conf\" mode=\"optional\")", "column 1: rsyslog's include(...) is not supported: use include PATTERN"},
		{"template(name=\"x\" type=\"string\" string=\"%msg%\")", "column 1: rsyslog's scripts (template(name=\"x\")"},
		{"set $.x = 1;", "column 1: rsyslog's scripts (set)"},
		{"&~", "column 1: '&', which repeats"},
		{"@version: 3.38", "column 1: this is a line of syslog-ng's configuration (@version:)"},
		{"source s_src { system(); };", "column 1: this is a line of syslog-ng's configuration (source)"},
		{"*.info; mail.none /f", "column 8: a blank ends the selectors: write them without blanks"},
		{"*.info ;mail.none /f", "column 7: a blank ends the selectors"},
		{"auth, authpriv.* /f", "column 6: a blank ends the selectors"},
		{"auth,\tauthpriv.* /f", "column 6: a blank ends the selectors"},
		{"*.* # /f", "column 4: expected an action"},
		{"*.* |f", "column 6: expected the absolute path of a FIFO after '|', found \"f\""},
		{"*.* root,me", "column 5: action \"root,me\" (users' terminals?) is not supported:"},
		{"*.* stop", "column 5: discarding messages (stop) is not supported"},
		{"*.* -f", "column 5: action \"-f\""},
		{"*.* -/f;rotate=", "column 16: expected rotate=SIZE:COUNT"},
		{"*.* -/f;rotate=1x:2", "column 16: size \"1x\": expected a number of bytes"},
		{"*.* -/f;rotate=0", "column 16: size \"0\": expected"},
		{"*.* -/f;rotate=99999999999G", "column 16: size \"99999999999G\": expected"},
		{"*.* -/f;rotate=1M:x", "column 19: count \"x\": expected a number of old files"},
		{"*.* -/f;rotate=1M:1000", "column 19: count \"1000\": expected"},
		{"*.* -/f;JSON, foo", "column 15: unknown option \"foo\": expected RFC3164"},
		{"*.* -/f;JSON=1", "column 9: unknown option \"JSON=1\""},
		{"*.* -/f;iface=x", "column 9: option iface=x is for remote hosts"},
		{"*.* stdout;rotate=1", "column 12: option rotate=1: only a file is rotated"},
		{"*.* /dev/kmsg;JSON", "column 15: option JSON: the kernel's log has a format of its own"},
		{"*.* journal;JSON", "column 13: option JSON: the journal has fields of its own"},
		{"*.* syslog;JSON", "column 12: option JSON: a syslog daemon reads RFC3164 or RFC5424"},
		{"24.* /f", "column 1: unknown facility \"24\""},
		{"mail.8 /f", "column 6: unknown severity \"8\""},
		{":foo, isequal, \"x\" /f", "column 2: unknown property \"foo\""},
		{":msg, foo, \"x\" /f", "column 7: unknown operator \"foo\""},
		{":msg, regex, \"x\" /f", "column 7: regular expressions (regex) are not supported"},
		{":msg, isequal, x /f", "column 16: expected a value in double quotes"},
		{":msg, isequal, \"x /f", "column 21: expected a double quote after the value"},
		{"!a,,b *.* /f", "column 4: expected names joined by ','"},
		{"& /f", "column 1: '&', which repeats rsyslog's last filter, is not supported"},
		{"$ModLoad imuxsock", "column 1: rsyslog's directives ($ModLoad) are not supported"},
		{"if $programname == 'x' then /f", "column 1: rsyslog's scripts (if) are not supported"},
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

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{
		"*.info;mail.none;kern.!=err -/f", "*.* /dev/kmsg", "mail,news.=crit\t/a b", "x", "*.* @h", "*.* /f;rotate=1:2",
		`:msg, !contains, "a\"" /f;JSON,gzip`, "!-a,b 2.3,kern.* |/f", "*.* stdout;RFC5424,sender", "*.* *",
	} {
		f.Add(s)
	}
	m := &syslog.Message{Tag: []byte("a/b"), Text: []byte("text")}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("%q: error of several lines: %v", text, err)
			}
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%q: String %q: %+v, %v", text, r, again, err)
		}
		for facility := range syslog.Facility(syslog.NumFacilities) {
			m.Facility = facility
			if again.Match(m, []byte("box")) != r.Match(m, []byte("box")) {
				t.Fatalf("%q: matches otherwise", text)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var rules []Rule
	for _, text := range []string{"*.info;mail.none -/a", "mail.* -/b", `:programname, isequal, "sshd" -/c`, "*.crit /dev/kmsg"} {
		r, err := ParseRule(text)
		if err != nil {
			b.Fatal(err)
		}
		rules = append(rules, r)
	}
	m := &syslog.Message{Facility: syslog.User, Severity: syslog.Info, Tag: []byte("cron"), Text: []byte("text")}
	for b.Loop() {
		for i := range rules {
			rules[i].Match(m, nil)
		}
	}
}
