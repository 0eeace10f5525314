package receiver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"devlog/test/host"
)

// compared are messages, and the programs that send such messages. HOST stands for the machine's name.
var compared = []struct{ who, raw string }{
	{"glibc", "<30>Nov 27 19:42:57 cron[12]: run"},
	{"no time", "<13>app: x"},
	{"no priority", "plain text"},
	{"no tag", "<13>Nov 27 19:42:57 hello world"},
	{"`logger --rfc3164`", "<13>Nov 27 19:42:57 HOST app: x"},
	{"sysklogd's `logger -b`", "<13>HOST app[3]: x"},
	{"syslog libraries of node.js", "<13>Nov 27 19:42:57 localhost app: x"},
	{"another host", "<13>Nov 27 19:42:57 db-02 app[3]: x"},
	{"Python, `ident=\"app:\"`", "<13>app:x"},
	{"an empty text", "<13>Nov 27 19:42:57 app:"},
	{"SSSD", "<13>Nov 27 19:42:57 sssd[be[EX.COM]][9]: x"},
	{"nginx at its start", "<13>Nov 27 19:42:57  nginx: x"},
	{"OpenVPN", "<13> openvpn[9]: x"},
	{"a day of one digit", "<13>Nov 7 19:42:57 app[9]: x"},
	{"a month in capitals", "<13>NOV 27 19:42:57 app[9]: x"},
	{"RFC 3339 without a zone", "<13>2026-11-27T19:42:57.156 app[9]: x"},
	{"a byte order mark", "<13>\xef\xbb\xbfapp: x"},
	{"RFC 5424", "<13>1 2026-11-27T19:42:57Z h app 7 ID [x@1 a=\"b\"] x"},
	{"RFC 5424, wrong", "<13>1 2026-11-27T19:42:57Z h app 7 - x"},
	{"`kern` from a program", "<3>app: x"},
	{"a priority too high", "<200>app: x"},
	{"no priority, but `<`", "<html>: x"},
	{"a newline", "<13>app: one\n<0>two"},
	{"a NUL", "<13>app: one\x00two"},
	{"a control character", "<13>app: a\x1b[2Jb"},
	{"no UTF-8", "<13>app: a\xffb"},
	{"an address", "<13>http://h/ is down"},
	{"nothing", ""},
}

// writer is a syslog daemon, and how to run it with a socket and a file in a directory, which is its
// /dev.
type writer struct {
	name string
	run  func(dir string) []string
}

func writers(t *testing.T) []writer {
	list := []writer{{"devlogd", func(dir string) []string {
		return []string{filepath.Join(host.BinDir, "devlogd"), "--listen", dir + "/log", "--sandbox", "off", "--rule", "*.* -" + dir + "/messages"}
	}}}
	if program := os.Getenv("SYSKLOGD"); program != "" {
		list = append(list, writer{"sysklogd", func(dir string) []string {
			host.Check(t, os.WriteFile(dir+"/conf", []byte("*.* -"+dir+"/messages\n"), 0o600))
			return []string{program, "-F", "-K", "-n", "-s", "-s", "-m", "0", "-f", dir + "/conf", "-p", dir + "/log", "-P", dir + "/pid", "-C", dir + "/cache"}
		}})
	}
	return append(list, writer{"rsyslog", func(dir string) []string {
		host.Check(t, os.WriteFile(dir+"/conf", []byte(`module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="`+dir+`/log")
*.* action(type="omfile" file="`+dir+`/messages" template="RSYSLOG_TraditionalFileFormat")
`), 0o600))
		return host.DaemonKind{Program: "rsyslogd"}.Command(host.DaemonsDir(), dir)
	}}, writer{"busybox", func(dir string) []string {
		return []string{"unshare", "--mount", "sh", "-c", "mount --bind " + dir + " /dev && exec busybox syslogd -n -O /dev/messages"}
	}})
}

// writes runs a daemon and returns the line that each message becomes, without the time.
func (w writer) writes(t *testing.T, hostname string) (list []string) {
	t.Helper()
	dir := t.TempDir()
	host.Check(t, unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	args := w.run(dir)
	cmd := exec.Command(args[0], args[1:]...)
	host.Check(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	host.Check(t, err)
	defer unix.Close(fd)
	host.Eventually(t, w.name+" listens", func() bool {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: dir + "/log"}) == nil
	})
	stamp := regexp.MustCompile(`(?mi)^(?:[a-z]{3} [ 0-9]\d \d\d:\d\d:\d\d|\d{4}-\S+) `)
	text, seen := "", 0
	for i, m := range compared {
		host.Check(t, host.Send(fd, strings.ReplaceAll(m.raw, "HOST", hostname)))
		end := fmt.Sprintf("end: number %d.", i)
		host.Check(t, host.Send(fd, "<13>"+end))
		host.Eventually(t, w.name+" writes "+end, func() bool {
			data, err := os.ReadFile(dir + "/messages")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			text = string(data)
			return strings.Contains(text, end)
		})
		var lines []string
		for line := range strings.Lines(text[seen:]) {
			if !strings.Contains(line, end) && !strings.Contains(line, "syslogd") { // not its own messages
				lines = append(lines, cell(strings.ReplaceAll(stamp.ReplaceAllString(line, ""), hostname, "HOST")))
			}
		}
		seen = len(text)
		if len(lines) == 0 {
			lines = []string{"lost"}
		}
		list = append(list, strings.Join(lines, ", "))
	}
	return list
}

// cell returns a text for a table: invisible characters are written as in C.
func cell(text string) string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return "(empty)"
	}
	quoted := fmt.Sprintf("%+q", text)
	quoted = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	return "`" + strings.ReplaceAll(strings.ReplaceAll(quoted, `\\`, `\`), "|", `\|`) + "`"
}

// The table in the page about the receiver has the line that each daemon makes of a message. With
// SYSKLOGD=PATH, which Debian lacks, the test rewrites the table.
func TestPeers(t *testing.T) {
	host.Need(t, "root", "busybox")
	host.NeedDaemons(t)
	const page = "../docs/receiver.md"
	hostname, err := os.Hostname()
	host.Check(t, err)
	text, err := os.ReadFile(page)
	host.Check(t, err)
	before, rest, ok := strings.Cut(string(text), "| sent by | message |")
	old, after, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		t.Fatal("there is no table")
	}
	list := writers(t)
	columns := map[string][]string{}
	for _, w := range list {
		columns[w.name] = w.writes(t, hostname)
	}
	if len(list) == 4 {
		table := "| sent by | message | devlogd | sysklogd | rsyslog | busybox |\n| --- | --- | --- | --- | --- | --- |\n"
		for i, m := range compared {
			table += "| " + m.who + " | " + cell(m.raw)
			for _, w := range list {
				table += " | " + columns[w.name][i]
			}
			table += " |\n"
		}
		host.Check(t, os.WriteFile(page, []byte(before+table+"\n"+after), 0o644))
		return
	}
	rows := strings.Split(strings.TrimSpace(old), "\n")[2:]
	if len(rows) != len(compared) {
		t.Fatalf("%d rows of %d messages", len(rows), len(compared))
	}
	for i, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		for _, column := range []struct {
			name string
			at   int
		}{{"devlogd", 2}, {"rsyslog", 4}, {"busybox", 5}} {
			if got := columns[column.name][i]; cells[column.at] != got {
				t.Errorf("%s: %s writes %s, and not %s", compared[i].who, column.name, got, cells[column.at])
			}
		}
	}
}
