package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"devlog/test/host"
)

// examples returns the displays after "EXAMPLES" in a page of the manual.
func examples(t *testing.T, page string) (list []string) {
	t.Helper()
	data, err := os.ReadFile(page)
	host.Check(t, err)
	_, text, ok := strings.Cut(string(data), "\n.Sh EXAMPLES\n")
	if !ok {
		t.Fatalf("%s has no examples", page)
	}
	text, _, _ = strings.Cut(text, "\n.Sh ")
	for _, part := range strings.Split(text+"\n", ".Bd -literal -offset indent\n")[1:] {
		display, _, ok := strings.Cut(part, ".Ed\n")
		if !ok {
			t.Fatalf("%s: a display without an end", page)
		}
		list = append(list, strings.ReplaceAll(display, `\e`, `\`))
	}
	if len(list) == 0 {
		t.Fatalf("%s has no examples", page)
	}
	return list
}

// inDirectory makes an example use a directory instead of the machine's own paths.
func inDirectory(text, dir string) string {
	text = regexp.MustCompile(`/(var/log|run/devlog|etc/syslog\.d)`).ReplaceAllString(text, dir+"/$1")
	return strings.ReplaceAll(text, "/dev/kmsg", dir+"/kmsg")
}

// Each example of devlogd.conf(5) is valid, and does what its caption says.
func TestManualRules(t *testing.T) {
	for i, text := range examples(t, "../man/devlogd.conf.5") {
		t.Run(fmt.Sprint(i), func(t *testing.T) { wantMeaning(t, text) })
	}
}

// Each command of devlogd(8)'s examples runs.
func TestManualCommands(t *testing.T) {
	for _, text := range examples(t, "../man/devlogd.8") {
		for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "devlogd ")[1:] {
			dir := t.TempDir()
			line = strings.ReplaceAll(inDirectory(line, dir), "--kernel", "") // it needs privileges
			socket := filepath.Join(dir, "run/devlog/log")
			r := host.RunCommand(t, socket, exec.Command("sh", "-c", "exec "+filepath.Join(host.BinDir, "devlogd")+" "+line))
			host.Check(t, host.Send(r.Connect(), "<13>sshd: hello"))
			r.Signal(15)
			if code, errOut := r.Wait(); code != 0 {
				t.Fatalf("%s: exit code %d: %s", line, code, errOut)
			}
			files, err := filepath.Glob(dir + "/var/log/*")
			host.Check(t, err)
			if len(files) == 0 {
				t.Errorf("%s: no files", line)
			}
		}
	}
}
