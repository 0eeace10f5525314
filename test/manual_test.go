package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// examples returns the displays behind "EXAMPLES" in a page of the manual.
func examples(t *testing.T, page string) (list []string) {
	t.Helper()
	data, err := os.ReadFile(page)
	check(t, err)
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

// inDirectory makes an example use a directory instead of the machine's own places.
func inDirectory(text, dir string) string {
	text = regexp.MustCompile(`/(var/log|run/devlog|etc/syslog\.d)`).ReplaceAllString(text, dir+"/$1")
	return strings.ReplaceAll(text, "/dev/kmsg", dir+"/kmsg")
}

// Each example of devlogd.conf(5) is right, and what it says is done.
func TestManualRules(t *testing.T) {
	for i, text := range examples(t, "../man/devlogd.conf.5") {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			config := filepath.Join(dir, "conf")
			check(t, os.WriteFile(config, []byte(text), 0o600))
			if out, err := exec.Command(filepath.Join(binDir, "devlogd"), "--check-config", "--config", config).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s\n%s", err, out, text)
			}
			check(t, os.WriteFile(config, []byte(inDirectory(text, dir)), 0o600))
			r := runReceiver(t, filepath.Join(dir, "s"), "--listen", filepath.Join(dir, "s"), "--config", config)
			fd := r.Connect()
			for _, m := range []string{"<18>mailer: urgent error", "<86>sshd[1]: auth", "<78>cron: job", "<10>a: crit"} {
				check(t, send(fd, m))
			}
			r.Signal(15)
			if code, errOut := r.Wait(); code != 0 {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			got := ""
			for _, path := range regexp.MustCompile(`(/var/log/|/dev/)[a-z.]+`).FindAllString(text, -1) {
				data, err := os.ReadFile(inDirectory(path, dir))
				check(t, err)
				if len(data) == 0 {
					t.Errorf("nothing is in %s", path)
				}
				got += string(data)
			}
			if !strings.Contains(got, "crit") {
				t.Errorf("%q", got)
			}
		})
	}
}

// Each command of devlogd(8)'s examples runs.
func TestManualCommands(t *testing.T) {
	for _, text := range examples(t, "../man/devlogd.8") {
		for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "devlogd ")[1:] {
			dir := t.TempDir()
			line = strings.ReplaceAll(inDirectory(line, dir), "--kernel", "") // not everybody may
			socket := filepath.Join(dir, "run/devlog/log")
			r := runCommand(t, socket, exec.Command("sh", "-c", "exec "+filepath.Join(binDir, "devlogd")+" "+line))
			check(t, send(r.Connect(), "<13>sshd: hello"))
			r.Signal(15)
			if code, errOut := r.Wait(); code != 0 {
				t.Fatalf("%s: exit code %d: %s", line, code, errOut)
			}
			files, err := filepath.Glob(dir + "/var/log/*")
			check(t, err)
			if len(files) == 0 {
				t.Errorf("%s: no files", line)
			}
		}
	}
}
