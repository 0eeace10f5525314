package receiver

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// The receiver gets what programs in the container send to systemd's journal.
func TestJournalClients(t *testing.T) {
	host.NeedContainers(t, "runc", "python3", "logger")
	client := filepath.Join(t.TempDir(), "journalclient")
	cmd := exec.Command("go", "build", "-o", client, ".")
	cmd.Dir, cmd.Env = "testdata/journalclient", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h := host.NewHost(t)
	h.Must("mkdir", "-p", "/run/systemd/journal")
	_, entries := host.Bind(t, h.Path("/run/systemd/journal/socket"))
	c := programsContainer(t, h, "journald.sh")
	h.Must("cp", client, c.Rootfs+"/opt")
	h.Must("cp", "-a", host.Unpacked("systemd"), c.Rootfs+"/opt/systemd")
	h.Must("cp", "-a", host.Unpacked("journal"), c.Rootfs+"/opt/python")
	c.Hook("createRuntime", "--journal", "--rule", "*.* -/var/log/devlog/c1/messages", "--rule", "*.* -/var/log/devlog/c1/json;JSON",
		"--rule", "*.* -/var/log/devlog/c1/rfc5424;RFC5424", "--rule", "mail.* journal")
	runPrograms(t, h, c)
	host.ExpectReceiversEnd(t, h)
	lines, err := os.ReadFile(c.Log())
	host.Check(t, err)
	for _, want := range []string{"lg: from logger", "cat: from systemd-cat", "cat: with a prefix", "py: from Python", "journalclient: from Go#012in two lines",
		"py: large " + strings.Repeat("x", 64<<10-len("large ")) + " [cut]"} {
		if n := strings.Count(string(lines), " c1 "+want+"\n"); n != 1 {
			t.Errorf("%d lines are %.99q", n, want)
		}
	}
	type message struct {
		Facility, Severity, Appname, Msg string
		Fields                           map[string]any
		Sender                           map[string]int
	}
	var got []message
	text, err := os.ReadFile(filepath.Join(filepath.Dir(c.Log()), "json"))
	host.Check(t, err)
	for line := range strings.Lines(string(text)) {
		var m message
		host.Check(t, json.Unmarshal([]byte(line), &m))
		if m.Sender["pid"] == 0 {
			t.Errorf("the sender is not known: %s", line)
		}
		m.Sender = nil
		for _, name := range []string{"CODE_FILE", "CODE_LINE", "CODE_FUNC", "SYSLOG_TIMESTAMP"} {
			if m.Appname != "lg" {
				delete(m.Fields, name)
			}
		}
		if len(m.Msg) < 1000 {
			got = append(got, m)
		}
	}
	for _, want := range []message{
		{Facility: "mail", Severity: "warning", Appname: "lg", Msg: "from logger", Fields: map[string]any{"CODE_FILE": "x.c", "CONTAINER_NAME": "other"}},
		{Facility: "user", Severity: "err", Appname: "cat", Msg: "from systemd-cat"},
		{Facility: "user", Severity: "info", Appname: "cat", Msg: "with a prefix"},
		{Facility: "user", Severity: "err", Appname: "py", Msg: "from Python", Fields: map[string]any{"ORDER": "7"}},
		{Facility: "user", Severity: "err", Appname: "journalclient", Msg: "from Go\nin two lines", Fields: map[string]any{"ORDER": "8"}},
	} {
		if !slices.ContainsFunc(got, func(m message) bool { return reflect.DeepEqual(m, want) }) {
			t.Errorf("no %+v\n%s", want, text[:min(len(text), 4096)])
		}
	}
	rfc5424, err := os.ReadFile(filepath.Join(filepath.Dir(c.Log()), "rfc5424"))
	host.Check(t, err)
	if want := `[journal@32473 CODE_FILE="x.c" CONTAINER_NAME="other"] from logger`; !strings.Contains(string(rfc5424), want) {
		t.Errorf("no %s", want)
	}
	entry := entryOf(t, entries())
	for name, want := range map[string]string{"MESSAGE": "from logger", "CODE_FILE": "x.c", "CONTAINER_NAME": "c1", "CLIENT_CONTAINER_NAME": "other", "PRIORITY": "4", "SYSLOG_FACILITY": "2"} {
		if entry[name] != want {
			t.Errorf("%s is %q, want %q, of %q", name, entry[name], want, entry)
		}
	}
	if _, err := os.Lstat(filepath.Join(c.Rootfs, "run/systemd")); !os.IsNotExist(err) {
		t.Errorf("left: %v", err)
	}
}
