package receiver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"devlog/test/host"
)

// clientCase is a real program that sends messages, and the line that each should become, after the
// time and the host's name. PID stands for any number.
type clientCase struct {
	name  string
	needs []string
	run   []string
	// stdin is what the program reads; empty for nothing.
	stdin string
	want  []string
	types string // of the sockets it can use; both if empty
	// claims says that it sets the message's sender, as root may.
	claims bool
}

const python = `
import logging, logging.handlers, socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "stream" else socket.SOCK_DGRAM
h = logging.handlers.SysLogHandler(address="/dev/log", facility="mail", socktype=kind)
log = logging.getLogger("x")
log.addHandler(h)
log.setLevel(logging.DEBUG)
log.warning("no ident %s", "\u00e4")
h.ident = "py: "
log.error("two\nlines")
h.append_nul = False
log.debug("no NUL")
`

const perl = `
use Sys::Syslog qw(:standard :macros);
Sys::Syslog::setlogsock({type => "unix", path => "/dev/log"}) or die "setlogsock";
openlog("pl", "ndelay,pid", LOG_MAIL) or die "openlog";
syslog(LOG_ERR, "one %s", "x") or die "syslog";
syslog(LOG_INFO, "two") or die "syslog";
closelog();
openlog("plain", "ndelay", LOG_USER);
syslog(LOG_NOTICE, "three");
`

// loggers are the modes of util-linux' logger that write to a local socket.
func loggers() (list []clientCase) {
	add := func(name string, want []string, stdin string, args ...string) {
		list = append(list, clientCase{name: "logger " + name, needs: []string{"logger"}, run: append([]string{"/usr/bin/logger"}, args...), stdin: stdin, want: want})
	}
	add("plain", []string{"root: hello world"}, "", "hello", "world")
	add("tag and pid", []string{"tag[PID]: hello"}, "", "-i", "-t", "tag", "hello")
	add("another's pid", []string{"tag[1]: hello"}, "", "--id=1", "-t", "tag", "hello")
	list[len(list)-1].claims = true
	add("priority", []string{"tag: <mail.err> hello"}, "", "-p", "mail.err", "-t", "tag", "hello")
	add("kern", []string{"tag: <user.err> hello"}, "", "-p", "kern.err", "-t", "tag", "hello")
	add("standard input", []string{"tag: one", "tag: two"}, "one\ntwo\n", "-t", "tag")
	add("prefixes", []string{"tag: <daemon.crit> one"}, "<26>one\n", "-t", "tag", "--prio-prefix")
	add("empty lines", []string{"tag: one", "tag: two"}, "one\n\ntwo\n", "-e", "-t", "tag")
	add("to standard error too", []string{"tag: hello"}, "", "-s", "-t", "tag", "hello")
	add("RFC 3164", []string{"tag: hello"}, "", "--rfc3164", "-t", "tag", "-u", "/dev/log", "hello")
	add("RFC 3164 and pid", []string{"tag[PID]: hello"}, "", "--rfc3164", "-i", "-t", "tag", "-u", "/dev/log", "hello")
	add("RFC 5424", []string{`tag: [timeQuality tzKnown="1" isSynced="`}, "", "--rfc5424", "-t", "tag", "-u", "/dev/log", "hello")
	add("RFC 5424, bare", []string{"tag[PID]: hello"}, "", "--rfc5424=notime,notq,nohost", "-i", "-t", "tag", "-u", "/dev/log", "hello")
	add("RFC 5424 with ID and data", []string{`tag: ID [x@1 a="b"] hello`}, "", "--rfc5424=notq", "--msgid", "ID", "--sd-id", "x@1", "--sd-param", `a="b"`, "-t", "tag", "-u", "/dev/log", "hello")
	add("long", []string{"tag: " + strings.Repeat("x", 60000)}, "", "-S", "60000", "-t", "tag", strings.Repeat("x", 60000))
	return list
}

func clientCases(t *testing.T, dir string) []clientCase {
	syslog := func(program string) []string { return []string{program, "c", "13", "one\ntwo \u00e4\x1b"} }
	list := append(loggers(),
		clientCase{name: "glibc", needs: []string{"gcc"}, run: syslog(host.Client), want: []string{"c[PID]: one#012two \u00e4#033"}},
		clientCase{name: "busybox logger", needs: []string{"busybox"}, run: []string{"/usr/bin/busybox", "logger", "-p", "mail.info", "-t", "bb", "hello  there"}, want: []string{"bb: <mail.info> hello  there"}},
		clientCase{name: "Python", needs: []string{"python3"}, run: []string{"/usr/bin/python3", "-c", python, "TYPE"}, want: []string{"<mail.warning> no ident \u00e4", "py: <mail.err> two#012lines", "py: <mail.debug> no NUL"}},
		clientCase{name: "Perl", needs: []string{"perl"}, run: []string{"/usr/bin/perl", "-e", perl}, want: []string{"pl[PID]: <mail.err> one x", "pl[PID]: <mail.info> two", "plain: three"}},
		clientCase{name: "Go", run: []string{buildGo(t, dir, "testdata/goclient.go"), "TYPE"}, want: []string{"goer[PID]: <mail.err> one", "goer[PID]: <mail.debug> two#012lines"}, types: "dgram"},
		clientCase{name: "Go", run: []string{buildGo(t, dir, "testdata/goclient.go"), "TYPE"}, want: []string{"goer[PID]: <mail.err> one", "goer[PID]: <mail.debug> two", "lines"}, types: "stream"},
	)
	if host.Missing("musl-gcc") == "" {
		musl := filepath.Join(dir, "musl")
		host.Check(t, host.Command("musl-gcc", "-O1", "-static", "-o", musl, "testdata/client.c"))
		list = append(list, clientCase{name: "musl", run: syslog(musl), want: []string{"c[PID]: one#012two \u00e4#033"}, types: "dgram"})
	} else {
		list = append(list, clientCase{name: "musl", needs: []string{"musl-gcc"}, types: "dgram"})
	}
	return list
}

// buildGo builds a Go program of one file.
func buildGo(t *testing.T, dir, source string) string {
	t.Helper()
	program := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".go"))
	cmd := exec.Command("go", "build", "-o", program, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return program
}

// Every client's messages arrive as intended, over both types of socket.
func TestClients(t *testing.T) {
	host.Need(t, "root", "gcc")
	dir := t.TempDir()
	list := clientCases(t, dir)
	for _, kind := range []string{"dgram", "stream"} {
		t.Run(kind, func(t *testing.T) {
			h := host.NewHost(t)
			log := h.Path("/run/messages")
			startReceiver(t, h, "--listen", "/dev/log", "--type", kind, "--name", "box",
				"--rule", "*.* -/run/messages", "--rule", "*.* -/run/json;JSON")
			for i, c := range list {
				if c.types != "" && c.types != kind {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					host.Need(t, c.needs...)
					h := &host.Host{T: t, Pid: h.Pid}
					before := size(t, log)
					jsonBefore := size(t, h.Path("/run/json"))
					run := append([]string(nil), c.run...)
					for i := range run {
						run[i] = strings.ReplaceAll(run[i], "TYPE", kind)
					}
					if r := h.DoInput(c.stdin, run...); r.Code != 0 {
						t.Fatalf("%q: %+v", run[:1], r)
					}
					end := fmt.Sprintf("end of %d", i)
					if r := h.Do(host.Client, "end", "14", end); r.Code != 0 {
						t.Fatalf("%+v", r)
					}
					host.WantOnce(t, log, end)
					var got []string
					for line := range strings.Lines(string(from(t, log, before))) {
						if _, text, ok := strings.Cut(line, " box "); ok && !strings.Contains(text, end) {
							got = append(got, strings.TrimSuffix(text, "\n"))
						}
					}
					levels := levelsOf(t, h.Path("/run/json"), jsonBefore, c.claims)
					if len(got) != len(c.want) || len(levels) < len(got) {
						t.Fatalf("got %.300q (%q), want %.300q", got, levels, c.want)
					}
					for i := range got {
						if !likeLine(got[i], levels[i], c.want[i]) {
							t.Errorf("got %.300q at %s, want %.300q", got[i], levels[i], c.want[i])
						}
					}
				})
			}
		})
	}
}

const namespaced = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(sys.argv[1])
s.send(b"<13>py[%d]: right" % os.getpid())
s.send(b"<13>py[4711]: wrong")
print(os.getpid(), flush=True)
sys.stdin.read()
`

// A program in another PID namespace has another ID there, which does not count as a false one.
func TestSenderInNamespace(t *testing.T) {
	host.Need(t, "root", "python3")
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "s"), filepath.Join(dir, "m")
	r := host.RunReceiver(t, socket, "--listen", socket, "--name", "box", "--rule", "*.* -"+file+";sender")
	_ = r.Connect()
	cmd := exec.Command("unshare", "--pid", "--fork", "/usr/bin/python3", "-c", namespaced, socket)
	in, err := cmd.StdinPipe()
	host.Check(t, err)
	out, err := cmd.StdoutPipe()
	host.Check(t, err)
	host.Check(t, cmd.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	host.Check(t, err)
	if pid != 1 {
		t.Errorf("the client is process %d of its namespace", pid)
	}
	var got string
	host.Eventually(t, "both messages", func() bool {
		data, err := os.ReadFile(file)
		got = string(data)
		return err == nil && strings.Count(got, "\n") == 2
	})
	host.Check(t, in.Close())
	host.Check(t, cmd.Wait())
	first, second, _ := strings.Cut(got, "\n")
	if !strings.HasSuffix(first, " box py[1]: right") {
		t.Errorf("got %q", first)
	}
	if !strings.Contains(second, " box py[4711]: wrong [sent by pid=") || !strings.HasSuffix(second, " uid=0 gid=0]\n") {
		t.Errorf("got %q", second)
	}
}
