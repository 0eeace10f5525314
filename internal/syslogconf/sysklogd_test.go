package syslogconf

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/syslog"
)

// answers is what sysklogd does with rules: files of rules, each with a line
// behind it that says which messages go to FILE. SYSKLOGD=PATH has that program
// asked, and its answers written there.
const answers = "testdata/sysklogd.txt"

// probes are messages for filters, with a name each.
var probes = []struct{ name, raw string }{
	{"sshd", "<14>sshd[1]: hello world"},
	{"Sshd", "<14>Sshd[1]: Hello"},
	{"sshd2", "<14>sshd2: DENY all"},
	{"cron", "<78>cron[2]: Deny \"all\" \\ none"},
	{"smtpd", "<22>postfix/smtpd[3]: x"},
	{"rfc5424", `<14>1 - - app 7 ID47 [x@1 y="z"] text`},
	{"urgent", "<8>a.b-c_d: x"},
}

// probe is a message of a facility and severity, for selectors.
func probe(p int) string { return fmt.Sprintf("<%d>t: %d.", p, p) }

const priorities = syslog.NumFacilities * 8

// summary is what the messages are that a file has: of filters' their names, of
// selectors' the severities of each facility.
func summary(has func(raw string) bool) string {
	var parts []string
	for _, p := range probes {
		if has(p.raw) {
			parts = append(parts, p.name)
		}
	}
	last, first := "", 0
	end := func(next int) {
		if last == "" {
			return
		}
		facilities := strconv.Itoa(first)
		if first < next-1 {
			facilities += "-" + strconv.Itoa(next-1)
		}
		parts = append(parts, facilities+":"+last)
	}
	for f := range syslog.NumFacilities {
		digits := ""
		for s := range 8 {
			if has(probe(f*8 + s)) {
				digits += strconv.Itoa(s)
			}
		}
		if digits != last {
			end(f)
			last, first = digits, f
		}
	}
	end(syslog.NumFacilities)
	return strings.Join(parts, " ")
}

// ours is the summary of what devlogd does; an error is "refused".
func ours(config string) string {
	rules, err := parseText("f", []byte(strings.ReplaceAll(config, "FILE", "/f")+"\n*.none /g\n"))
	if err != nil {
		return "refused"
	}
	return summary(func(raw string) bool {
		var m syslog.Message
		syslog.Parse([]byte(raw), &m)
		if p, err := strconv.Atoi(strings.TrimLeft(strings.Split(raw, ">")[0], "<")); err == nil && p < 8 {
			m.Facility = syslog.Kern // sysklogd -k
		}
		return slices.ContainsFunc(rules, func(r Rule) bool { return r.Path == "/f" && r.Match(&m, []byte("box")) })
	})
}

// Rules select what they do in sysklogd, but where a reason is given.
func TestAsSysklogd(t *testing.T) {
	text, err := os.ReadFile(answers)
	if err != nil {
		t.Fatal(err)
	}
	program := os.Getenv("SYSKLOGD")
	var out strings.Builder
	var config []string
	count := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		answer, isAnswer := strings.CutPrefix(line, "\t= ")
		other, differs := strings.CutPrefix(line, "\t! ")
		switch {
		case isAnswer && program != "":
			line = "\t= " + theirs(t, program, strings.Join(config, "\n"))
		case isAnswer:
			config = append(config, "", answer) // for a line that differs
		case differs: // devlogd's own
			other, _, _ = strings.Cut(other, "  (")
			config = append(config, "", other)
		case line == "" && len(config) > 0 && program == "":
			want := config[len(config)-1]
			text := strings.Join(config[:slices.Index(config, "")], "\n")
			if got := ours(text); got != want {
				t.Errorf("%s\n got %s\nwant %s", text, got, want)
			}
			count++
			config = nil
		case line == "":
			config = nil
		case !strings.HasPrefix(line, "//"):
			config = append(config, line)
		}
		out.WriteString(line + "\n")
	}
	if program != "" {
		if err := os.WriteFile(answers, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if count < 70 {
		t.Errorf("only %d files of rules", count)
	}
}

// theirs is the summary of what sysklogd does.
func theirs(t *testing.T, program, config string) string {
	t.Helper()
	dir := t.TempDir()
	file, conf, sock := filepath.Join(dir, "f"), filepath.Join(dir, "conf"), filepath.Join(dir, "s")
	// The last rule, which has everything, says when all is written.
	config = strings.ReplaceAll(config, "FILE", file) + "\n+*\n!*\n:*\n*.* " + file + ".all\n"
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-F", "-k", "-K", "-n", "-s", "-s", "-m", "0", "-f", conf, "-p", sock, "-P", filepath.Join(dir, "pid"), "-C", filepath.Join(dir, "cache"))
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		defer unix.Close(watch)
		_, err = unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_ATTRIB)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	await := func(what string, done func() bool) {
		for end := time.Now().Add(10 * time.Second); !done(); {
			left := int(time.Until(end).Milliseconds())
			if left <= 0 {
				t.Fatalf("%s: sysklogd has not got %s", config, what)
			}
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}, left); err == nil {
				_, _ = unix.Read(watch, make([]byte, 4096)) // done looks at all
			}
		}
	}
	await("a socket", func() bool { return unix.Connect(fd, &unix.SockaddrUnix{Name: sock}) == nil })
	var raws []string
	for _, p := range probes {
		raws = append(raws, p.raw)
	}
	for p := range priorities {
		raws = append(raws, probe(p))
	}
	for _, raw := range append(raws, "<14>end: end") {
		if err := unix.Sendto(fd, []byte(raw), 0, nil); err != nil && !errors.Is(err, unix.EISCONN) {
			t.Fatal(err)
		}
	}
	await("the end", func() bool { all, _ := os.ReadFile(file + ".all"); return strings.Contains(string(all), "end: end") })
	got, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return summary(func(raw string) bool {
		_, text, _ := strings.Cut(raw, ">")
		if after, ok := strings.CutPrefix(text, "1 - - app 7 "); ok { // sysklogd leaves the rest out
			text = after[strings.LastIndex(after, " ")+1:]
		}
		return strings.Contains(string(got), " "+text+"\n")
	})
}
