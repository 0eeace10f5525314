package receiver

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"devlog/test/host"
)

// programs is where deps.sh has unpacked the programs that log.
func programs() string { return host.Unpacked("programs") }

// logged are the expected messages of real programs, each once. PID stands for any number. Debian
// 12's sshd has another tag than Debian 13's.
var logged = []struct{ name, priority, tag, pid, text string }{
	{"nginx, at its start", "local3.notice", "ngx", "", `[0-9/]+ [0-9:]+ \[notice\] [0-9#]+: using the "epoll" event method`},
	{"nginx, a worker", "local3.notice", "ngx", "", `[0-9/]+ [0-9:]+ \[notice\] [0-9#]+: start worker process [0-9]+`},
	{"nginx, a request", "local4.debug", "ngx_access", "", `unix: - - \[.*\] "GET /x HTTP/1.0" 200 1 "-" "-"`},
	{"haproxy", "local0.info", "haproxy", "PID", `unix:1 \[.*\] fe fe/<NOSRV> .* "GET /x HTTP/1.0"`},
	{"sshd", "authpriv.info", "sshd|sshd-session", "PID", `banner exchange: .*: invalid format`},
	{"cron", "cron.info", "cron", "PID", `\(CRON\) INFO \(pidfile fd = [0-9]+\)`},
	{"cron, a job", "cron.info", "CRON", "PID", `\(root\) CMD \(touch /tmp/cron\)`},
	{"PAM of cron", "authpriv.info", "CRON", "PID", `pam_unix\(cron:session\): session opened for user root\(uid=0\) by .*`},
	{"postfix", "mail.warning", "postfix/test", "PID", `warning: from postlog`},
	{"postfix, sendmail", "mail.crit", "postfix/sendmail", "PID", `fatal: .*`},
	{"PostgreSQL", "local2.info", "postgres", "PID", `\[[0-9]+-1\] .*LOG:  database system is ready to accept connections`},
	{"PostgreSQL, an error", "local2.warning", "postgres", "PID", `\[[0-9]+-1\] .*ERROR:  column "no_such_column" does not exist at character 8`},
	{"sudo", "local1.notice", "sudo", "", `    root : PWD=/ ; USER=root ; COMMAND=/bin/true`},
	{"Python", "local5.warning", "pyapp", "", `no blank after the colon`},
	{"Perl", "daemon.err", "perl-app", "PID", `from Perl`},
	{"logger", "mail.crit", "tagged", "PID", `from logger`},
	{"Go", "mail.err", "goer", "PID", `one`},
	{"glibc", "daemon.notice", "glibc", "PID", `from glibc`},
}

// programsBox has the container's own files: they must not be on the file system of the other layers.
const programsBox = "/run/box"

// programsContainer is a container in which the script runs, with the root directory of this
// machine and the unpacked programs.
func programsContainer(t *testing.T, h *host.Host, name string) *host.OCI {
	t.Helper()
	if _, err := os.Stat(programs()); err != nil {
		if os.Getenv("DEVLOG_TEST_REQUIRE") != "" {
			t.Fatalf("this test needs real programs: %v; run test/deps.sh", err)
		}
		t.Skipf("this test needs real programs: %v; run test/deps.sh", err)
	}
	scripts, err := filepath.Abs("testdata")
	host.Check(t, err)
	c := host.NewOCI(t, h, "runc", "c1", "exec /bin/sh /opt/"+name)
	h.Must("mkdir", "-p", programsBox+"/upper/opt", programsBox+"/upper/usr", programsBox+"/work")
	h.Must("sh", "-c", "cd "+programs()+` && cp -a etc var usr `+programsBox+`/upper && for d in bin sbin lib; do [ -L $d ] || ! [ -d $d ] || cp -a $d `+programsBox+`/upper/usr; done`)
	h.Must("cp", filepath.Join(scripts, name), filepath.Join(scripts, "common.sh"), programsBox+"/upper/opt")
	h.Must("mount", "-t", "overlay", "overlay", "-o", "lowerdir=/,upperdir="+programsBox+"/upper,workdir="+programsBox+"/work", c.Rootfs)
	c.Mount("/tmp", "tmpfs", "tmpfs", "mode=1777")
	c.Mount("/run", "tmpfs", "tmpfs", "mode=755")
	c.Config["hostname"] = "Inner-7"
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT", "CAP_AUDIT_WRITE", "CAP_SETPCAP"}
	process, ok := c.Config["process"].(map[string]any)
	if !ok {
		t.Fatal("no process")
	}
	process["capabilities"] = map[string]any{"bounding": caps, "effective": caps, "permitted": caps}
	process["env"] = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/opt",
		"LD_LIBRARY_PATH=/usr/lib/postfix:/usr/libexec/sudo", "LC_ALL=C"}
	return c
}

// runPrograms runs that container. Its script must succeed.
func runPrograms(t *testing.T, h *host.Host, c *host.OCI) {
	t.Helper()
	c.Write()
	if r := h.Do(c.Args("run")...); r.Code != 0 {
		log, _ := os.ReadFile(h.Path(programsBox + "/upper/opt/log"))
		text, _ := os.ReadFile(c.Log())
		t.Fatalf("%+v\n%s\n%s", r, log, text)
	}
}

// matches returns whether the regular expression matches all of the text.
func matches(expression, text string) bool {
	return regexp.MustCompile("^(" + expression + ")$").MatchString(text)
}

// Real programs in one container: each message has the facility, severity, tag,
// process ID, host and text that its program gave it.
func TestPrograms(t *testing.T) {
	host.NeedContainers(t, "runc", "python3", "perl", "logger", "gcc")
	h := host.NewHost(t)
	c := programsContainer(t, h, "programs.sh")
	h.Must("cp", buildGo(t, t.TempDir(), "testdata/goclient.go"), host.Client, c.Rootfs+"/opt")
	c.Hook("createRuntime", "--rule", "*.* -/var/log/devlog/c1/messages;JSON")
	runPrograms(t, h, c)
	host.ExpectReceiversEnd(t, h)
	text, err := os.ReadFile(c.Log())
	host.Check(t, err)
	type message struct{ Hostname, Facility, Severity, Appname, Procid, Msg string }
	var all []message
	for line := range strings.Lines(string(text)) {
		var m message
		host.Check(t, json.Unmarshal([]byte(line), &m))
		all = append(all, m)
		if m.Hostname != "c1" || m.Appname == "" || strings.HasPrefix(strings.ToLower(m.Msg), "inner-7") {
			t.Errorf("%s", line)
		}
	}
	pid := regexp.MustCompile(`^[0-9]+$`)
	for _, want := range logged {
		n := 0
		for _, m := range all {
			if m.Facility+"."+m.Severity == want.priority && matches(want.tag, m.Appname) && (want.pid == "PID") == pid.MatchString(m.Procid) &&
				(want.pid == "PID" || m.Procid == want.pid) && matches(want.text, m.Msg) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d messages are %s %s[%s]: %s", want.name, n, want.priority, want.tag, want.pid, want.text)
		}
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}
