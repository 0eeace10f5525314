package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// meant are the rules that manuals and documents show, in one line, with the outputs that the messages
// of meaningful reach.
var meant = map[string]string{
	"*.*;mail.none -/var/log/messages | mail.* -/var/log/mail.log | mail.err /var/log/mail.err":                                                               "messages: sshd cron crit job; mail.log: mailer urgent; mail.err: urgent",
	"rotate_size 10M | rotate_count 5 | *.info;auth,authpriv.none -/var/log/messages ;gzip | auth,authpriv.* /var/log/auth.log ;rotate=1M:20,gzip":            "messages: mailer urgent cron crit; auth.log: sshd",
	"!-sshd,cron | *.* -/var/log/messages | !sshd | *.* -/var/log/sshd.log | !* | :programname, isequal, \"cron\" -/var/log/cron.log":                         "messages: mailer urgent crit job; sshd.log: sshd; cron.log: cron",
	"*.* -/var/log/messages.json ;JSON | :msg, contains, \"Error\" -/var/log/errors.log ;RFC5424 | *.=crit;kern.none /dev/kmsg":                               "messages.json: mailer urgent sshd cron crit job; errors.log: urgent; kmsg: crit",
	"# Log anything of level notice or higher. | *.notice;\\ auth,authpriv.none -/var/log/syslog | *.=emerg * | secure_mode 1 | include /etc/syslog.d/*.conf": "syslog: urgent crit",
	"*.* -/var/log/messages | *.crit /dev/kmsg":                        "messages: mailer urgent sshd cron crit job; kmsg: crit",
	"*.* -/var/log/messages ;rotate=10M:5,gzip":                        "messages: mailer urgent sshd cron crit job",
	"*.* container-stdout":                                             "container-stdout: mailer urgent sshd cron crit job",
	"*.* -/var/log/messages.json ;JSON":                                "messages.json: mailer urgent sshd cron crit job",
	"!sshd | *.* -/var/log/sshd.log | !-sshd | *.* -/var/log/messages": "sshd.log: sshd; messages: mailer urgent cron crit job",
	"*.* -/var/log/messages":                                           "messages: mailer urgent sshd cron crit job",
	"*.* /var/log/messages":                                            "messages: mailer urgent sshd cron crit job",
	"*.*;mail.none -/var/log/messages":                                 "messages: sshd cron crit job",
	"mail.* -/var/log/mail":                                            "mail: mailer urgent",
	":programname, isequal, \"sshd\" -/var/log/sshd;JSON":              "sshd: sshd",
	"auth,authpriv.* /var/log/auth.log | *.*;auth,authpriv.none -/var/log/syslog | mail.* -/var/log/mail.log | *.crit /dev/kmsg": "auth.log: sshd; syslog: mailer urgent cron crit job; mail.log: mailer urgent; kmsg: crit",
}

// meaningful are messages, each with a short name.
var meaningful = []struct{ word, raw string }{
	{"mailer", "<22>mailer[3]: mailer"},
	{"urgent", "<19>postfix/smtpd[4]: urgent Error"},
	{"sshd", "<86>sshd[1]: sshd"},
	{"cron", "<78>cron: cron"},
	{"crit", "<10>a: crit"},
	{"job", "<15>Nov 27 19:41:41 localhost b: job"},
}

// wantMeaning checks that rules do what meant says.
func wantMeaning(t *testing.T, text string) {
	t.Helper()
	key := strings.Join(strings.Split(strings.TrimSpace(regexp.MustCompile(`[ \t]+`).ReplaceAllString(text, " ")), "\n"), " | ")
	key = strings.ReplaceAll(key, "\\ | ", "\\")
	want, known := meant[key]
	if !known {
		t.Errorf("nothing says what these rules mean:\n%q", key)
		return
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "conf")
	host.Check(t, os.WriteFile(config, []byte(text), 0o600))
	if out, err := exec.Command(filepath.Join(host.BinDir, "devlogd"), "--check-config", "--config", config).CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, out, text)
	}
	text = strings.ReplaceAll(inDirectory(text, dir), "container-stdout", "-"+dir+"/container-stdout")
	host.Check(t, os.WriteFile(config, []byte(text), 0o600))
	r := host.RunReceiver(t, filepath.Join(dir, "s"), "--listen", filepath.Join(dir, "s"), "--config", config)
	fd := r.Connect()
	for _, m := range meaningful {
		host.Check(t, host.Send(fd, m.raw))
	}
	r.Signal(15)
	if code, errOut := r.Wait(); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	var got []string
	for _, path := range regexp.MustCompile(`(?m)(/[^\s;|]+)\s*(?:;[^\n]*)?$`).FindAllStringSubmatch(text, -1) {
		data, err := os.ReadFile(path[1])
		if err != nil || slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, filepath.Base(path[1])+":") }) {
			continue // a line of an include
		}
		line := filepath.Base(path[1]) + ":"
		for _, m := range meaningful {
			if regexp.MustCompile(`[ "]` + m.word + `[" \n]`).Match(data) {
				line += " " + m.word
			}
		}
		got = append(got, line)
	}
	if strings.Join(got, "; ") != want {
		t.Errorf("%s\n got %s\nwant %s", key, strings.Join(got, "; "), want)
	}
}

// Rules that are shown as options, and those in the installed file, do what meant says.
func TestShownRules(t *testing.T) {
	files, err := filepath.Glob("../man/*")
	host.Check(t, err)
	options := regexp.MustCompile(`--rule '([^'/]+ [^' ]*/var/log/[^']+)'`)
	seen := map[string]bool{}
	for _, file := range append(files, documents(t)...) {
		text, err := os.ReadFile(file)
		host.Check(t, err)
		for _, m := range options.FindAllStringSubmatch(string(text), -1) {
			if !seen[m[1]] {
				seen[m[1]] = true
				t.Run(fmt.Sprint(file, " ", len(seen)), func(t *testing.T) { wantMeaning(t, m[1]+"\n") })
			}
		}
	}
	if len(seen) < 4 {
		t.Errorf("only %d rules", len(seen))
	}
	text, err := os.ReadFile("../packaging/devlogd.conf")
	host.Check(t, err)
	_, rules, ok := strings.Cut(string(text), "--rule).\n\n")
	if !ok {
		t.Fatal("no rules in the file that is installed")
	}
	wantMeaning(t, strings.ReplaceAll(rules, "#", ""))
}
