package devlogd

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sentMessages are what programs, or other daemons' own tests, send, and how it is
// read by a receiver called Web-01 in a container that calls itself cfc4fe27123e.
var sentMessages = []struct{ name, raw, priority, tag, pid, text string }{
	{"1dig-day", "<13>Nov 7 19:06:53 app[9]: x", "user.notice", "app", "9", "x"},
	{"5424-2sp", "<13>1 2026-11-10T10:43:21Z h app  - - text", "user.notice", "", "", "1 2026-11-10T10:43:21Z h app  - - text"},
	{"5424-noproc", "<13>1 2026-11-10T10:43:21+0100 h app 7 - - text", "user.notice", "app", "7", "text"},
	{"5424-nosd", "<13>1 2026-11-10T10:43:21Z h app 7 - text without sd", "user.notice", "", "", "1 2026-11-10T10:43:21Z h app 7 - text without sd"},
	{"5424-nozone", "<134>1 2009-10-16T11:51:56 h MSX 20208 - - text", "local0.info", "", "", "1 2009-10-16T11:51:56 h MSX 20208 - - text"},
	{"blank-tag", "<13>Nov 27 19:42:57 two words: text", "user.notice", "", "", "two words: text"},
	{"bom-msg", "<13>t: \xef\xbb\xbfx", "user.notice", "t", "", "\xef\xbb\xbfx"},
	{"bom-pri", "<13>\xef\xbb\xbft: x", "user.notice", "t", "", "x"},
	{"cee", "<13>Nov 27 19:42:57 app[1]: @cee: {\"a\":1}", "user.notice", "app", "1", "@cee: {\"a\":1}"},
	{"crlf", "<13>t: x\r\n", "user.notice", "t", "", "x\r"},
	{"ident-only", "<13>Nov 27 19:42:57 foo:", "user.notice", "foo", "", ""},
	{"iso-blank", "<13>2026-11-10 10:43:21.156+01:00 app[9]: x", "user.notice", "", "", "2026-11-10 10:43:21.156+01:00 app[9]: x"},
	{"iso-nozone", "<13>2026-11-10T10:43:21.156 app[9]: x", "user.notice", "app", "9", "x"},
	{"kern", "<3>t: x", "user.err", "t", "", "x"},
	{"lead-blank", "<30> openvpn[2499]: PTHREAD", "daemon.info", "openvpn", "2499", "PTHREAD"},
	{"loc-month", "<13>M\xc3\xa4r  5 14:17:47 logger: test", "user.notice", "", "", "M\xc3\xa4r  5 14:17:47 logger: test"},
	{"localhost", "<134>Nov 27 19:42:17 localhost nodeapp: hi nopid", "local0.info", "nodeapp", "", "hi nopid"},
	{"lower-t", "<13>2026-11-10t10:43:21z app[9]: x", "user.notice", "", "", "2026-11-10t10:43:21z app[9]: x"},
	{"ms-stamp", "<13>Aug 29 02:00:00.156 snmpd[2499]: x", "user.notice", "", "", "Aug 29 02:00:00.156 snmpd[2499]: x"},
	{"msg-lt", "<html>: x", "user.notice", "", "", "<html>: x"},
	{"nginx-start", "<189>Nov 27 19:41:41  nginx: notice epoll", "local7.notice", "nginx", "", "notice epoll"},
	{"nginx-upper", "<190>Nov 27 19:41:42 web-01 web_www: 127.0.0.1 GET", "local7.info", "web_www", "", "127.0.0.1 GET"},
	{"pid-nocolon", "<13>Nov 27 19:42:57 app[12] text", "user.notice", "", "", "app[12] text"},
	{"podman-host", "<13>Nov 27 19:41:42 cfc4fe27123e web: from-logger", "user.notice", "web", "", "from-logger"},
	{"pri-big", "<200>t: x", "user.notice", "", "", "<200>t: x"},
	{"pri-lead0", "<013>t: x", "user.notice", "t", "", "x"},
	{"pri-sp", "< 13>t: x", "user.notice", "", "", "< 13>t: x"},
	{"py-noblank", "<172>pyapp:no blank after the colon", "local5.warning", "pyapp", "", "no blank after the colon"},
	{"sk-logger-b", "<15>Web-01 pimd[1091]: Multicast", "user.debug", "pimd", "1091", "Multicast"},
	{"sssd", "<13>Nov 27 19:42:57 sssd[be[EX.COM]][2309]: Starting up", "user.notice", "sssd[be[EX.COM]]", "2309", "Starting up"},
	{"tag-nocolon", "<13>Nov 27 19:42:57 app text", "user.notice", "", "", "app text"},
	{"year-stamp", "<13>Aug 29 2026 02:00:00 snmpd[2499]: x", "user.notice", "", "", "Aug 29 2026 02:00:00 snmpd[2499]: x"},
	{"glibc", "<30>Feb  3 04:05:06 cron[12]: (root) CMD (x)", "daemon.info", "cron", "12", "(root) CMD (x)"},
	{"systemd-251", "<30>Nov 27 19:41:41  systemd[1]: Started x.", "daemon.info", "systemd", "1", "Started x."},
	{"python-append-nul-no-ident", "<14>hello\x00", "user.info", "", "", "hello"},
	{"python-bom", "<14>\xef\xbb\xbfapp[3]: hello", "user.info", "app", "3", "hello"},
	{"go-log-syslog", "<30>2026-02-03T04:05:06+01:00 Web-01 a[7]: b", "daemon.info", "a", "7", "b"},
	{"logger-rfc3164", "<13>Nov 27 19:42:57 web-01 me: hello", "user.notice", "me", "", "hello"},
	{"logger-short-host", "<13>Nov 27 19:42:57 CFC4FE27123E.example me[8]: hello", "user.notice", "me", "8", "hello"},
	{"haproxy", "<134>Nov 27 19:42:57 haproxy[5]: 127.0.0.1:4 [27/Nov/2026] fe be/s 0/0", "local0.info", "haproxy", "5", "127.0.0.1:4 [27/Nov/2026] fe be/s 0/0"},
	{"postfix", "<22>Nov 27 19:42:57 postfix/smtpd[9]: connect from x", "mail.info", "postfix/smtpd", "9", "connect from x"},
	{"sudo", "<85>Nov 27 19:42:57 sudo:     root : TTY=pts/0 ; COMMAND=/bin/x", "authpriv.notice", "sudo", "", "    root : TTY=pts/0 ; COMMAND=/bin/x"},
	{"postgresql", "<134>Nov 27 19:42:57 postgres[77]: [1-1] LOG:  ready", "local0.info", "postgres", "77", "[1-1] LOG:  ready"},
	{"a word that may be a host", "<14>Nov 27 19:42:57 perl script[5]: x", "user.info", "script", "5", "x"},
	{"url", "<14>http://host/ is down", "user.info", "", "", "http://host/ is down"},
	{"another-host", "<14>Nov 27 19:42:57 db-02 app[5]: x", "user.info", "app", "5", "x"},
	{"another-host-no-pid", "<14>Nov 27 19:42:57 db-02 app: x", "user.info", "", "", "db-02 app: x"},
}

// Each message becomes one line, with these fields.
func TestSentMessages(t *testing.T) {
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", "Web-01", "--host-name", "cfc4fe27123e", "--rule", "*.* -"+log+";JSON")
	fd := dial(t, sock)
	for _, m := range sentMessages {
		send(t, fd, m.raw)
	}
	d.stop()
	lines := strings.Split(strings.TrimSuffix(content(t, log), "\n"), "\n")
	if len(lines) != len(sentMessages) {
		t.Fatalf("%d lines of %d messages", len(lines), len(sentMessages))
	}
	for i, m := range sentMessages {
		var got struct{ Hostname, Facility, Severity, Appname, Procid, Msg string }
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Errorf("%s: %v in %q", m.name, err, lines[i])
		} else if got.Facility+"."+got.Severity != m.priority || got.Appname != m.tag || got.Procid != m.pid || got.Msg != m.text || got.Hostname != "Web-01" {
			t.Errorf("%s: %q is %s", m.name, m.raw, lines[i])
		}
	}
}

// Docker and podman use the beginning of the container's ID as its host name.
func TestHostOfID(t *testing.T) {
	const id = "cfc4fe27123e5a7f0c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273"
	dir := t.TempDir()
	sock, log := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	d := startReady(t, nil, "--listen", sock, "--name", id, "--rule", "*.* -"+log)
	send(t, dial(t, sock), "<13>Nov 27 19:41:42 cfc4fe27123e web: from-logger", "<13>Nov 27 19:41:42 cfc4fe27123 web: other")
	d.stop()
	if want := id + " web: from-logger\n" + id + " cfc4fe27123 web: other\n"; content(t, log) != want {
		t.Errorf("%q", content(t, log))
	}
}

// configured are files of rules, in which FILE is the output, with messages, and
// the lines that they become.
var configured = []struct{ name, config, messages, want string }{
	{"a filter by program on a line of its own", "!-sshd\n*.* FILE", "<38>sshd[1]: a|<13>app: b", "app: b"},
	{"several", "!-sshd,cron\n*.* FILE", "<38>sshd[1]: a|<13>app: b|<78>cron: c", "app: b"},
	{"with a plus", "!+sshd\n*.* FILE", "<38>sshd[1]: a|<13>app: b", "sshd[1]: a"},
	{"ended", "!-sshd\n*.* FILE\n!*\nauth.* FILE", "<38>sshd[1]: a|<13>app: b", "sshd[1]: a|app: b"},
	{"console", "console.* FILE\nuser.* FILE2", "<112>t: m14.0", "t: m14.0"},
	{"alert, clock and security", "14,cron_sol.* FILE\nsecurity.* FILE", "<112>t: a|<120>t: b|<104>t: c|<32>t: d", "t: a|t: b|t: c"},
	{"a comment behind the action", "*.* -FILE  # all of it", "<13>app: b", "app: b"},
	{"a comment behind options", "*.* FILE;rotate=1M:1\t# all of it", "<13>app: b", "app: b"},
	{"a comment behind a filter", "!app # this one\n*.* FILE", "<13>app: b|<13>b: c", "app: b"},
	{"the tag of a message with the host's name", "!app\n*.* FILE", "<13>Nov 27 19:41:42 web-01 app: b|<13>localhost app:c|<13>Nov  7 19:41:42  app: d", "app: b|app:c|app: d"},
}

func TestConfigured(t *testing.T) {
	for _, tt := range configured {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			sock, log, conf := filepath.Join(dir, "s"), filepath.Join(dir, "m"), filepath.Join(dir, "conf")
			put(t, conf, strings.ReplaceAll(tt.config, "FILE", log)+"\n")
			d := startReady(t, nil, "--listen", sock, "--name", "Web-01", "--config", conf)
			send(t, dial(t, sock), strings.Split(tt.messages, "|")...)
			d.signal(unix.SIGTERM)
			if code := d.wait(); code != 0 {
				t.Errorf("exit code %d: %s", code, &d.stderr)
			}
			if got := strings.ReplaceAll(strings.TrimSuffix(content(t, log), "\n"), "\n", "|"); strings.ReplaceAll(got, "Web-01 ", "") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
