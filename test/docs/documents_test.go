package docs

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// documents are the documents for readers, except the manual.
func documents(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../*.md")
	host.Check(t, err)
	host.Check(t, filepath.WalkDir("../docs", func(name string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".md") {
			list = append(list, name)
		}
		return err
	}))
	if len(list) < 10 {
		t.Fatalf("only %d documents: %q", len(list), list)
	}
	return list
}

// displays returns the examples of a page of the manual, marked by the same
// comments as roff writes them.
func displays(t *testing.T, page string) (list []host.Block) {
	t.Helper()
	data, err := os.ReadFile(page)
	host.Check(t, err)
	_, text, _ := strings.Cut(string(data), "\n.Sh EXAMPLES\n")
	text, _, _ = strings.Cut(text+"\n", "\n.Sh ")
	for i, display := range regexp.MustCompile(`(?ms)^(?:\.\\" ([^\n]*)\n)?\.Bd [^\n]*\n(.*?)^\.Ed$`).FindAllStringSubmatch(text, -1) {
		list = append(list, host.Block{At: fmt.Sprintf("%s, example %d", page, i+1), Marker: display[1], Text: strings.ReplaceAll(display[2], `\e`, `\`)})
	}
	if len(list) == 0 {
		t.Errorf("%s has no examples", page)
	}
	return list
}

// Everything that documents show works as shown, or is marked as an illustration.
func TestDocumentBlocks(t *testing.T) {
	tests := elsewhere(t)
	maps.Copy(tests, testNames(t, "*/*_test.go"))
	run := 0
	pages, err := filepath.Glob("../man/*")
	host.Check(t, err)
	for _, file := range append(documents(t), pages...) {
		read := host.Blocks
		if slices.Contains(pages, file) {
			read = displays
		}
		for _, b := range read(t, file) {
			b.At = strings.TrimPrefix(b.At, "../")
			kind, what, _ := strings.Cut(b.Marker, " ")
			switch kind {
			case "illustration":
			case "run:":
				for _, name := range strings.Split(what, ", ") {
					if !tests[name] {
						t.Errorf("%s: there is no %s", b.At, name)
					}
				}
			case "rules", "golden", "run":
				run++
				t.Run(b.At, func(t *testing.T) {
					map[string]func(*testing.T, string, string){"rules": expectRules, "golden": expectGolden, "run": expectRuns}[kind](t, what, b.Text)
				})
			default:
				t.Errorf("%s: %q does not say what to make of this block:\n%s", b.At, b.Marker, b.Text)
			}
		}
	}
	if run < 10 {
		t.Errorf("only %d blocks are run", run)
	}
}

// elsewhere returns the names of tests outside this package that documents name: those of the plugin's
// module, and the scenarios of make test-engines and make test-hosts.
func elsewhere(t *testing.T) set {
	t.Helper()
	s := testNames(t, "../nri/*_test.go")
	maps.Copy(s, testNames(t, "../nri/cmd/*/*_test.go"))
	for _, pattern := range []string{"engines/*.sh", "hosts/guest/[0-9]*.sh"} {
		scenarios, err := filepath.Glob(pattern)
		host.Check(t, err)
		for _, name := range scenarios {
			s[strings.TrimSuffix(name, ".sh")] = true
		}
	}
	return s
}

// testNames are the names of the tests in the files that match.
func testNames(t *testing.T, pattern string) set {
	t.Helper()
	files, err := filepath.Glob(pattern)
	host.Check(t, err)
	names := set{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		host.Check(t, err)
		maps.Copy(names, found(string(text), `(?m)^func ((?:Test|Fuzz)\w+)\(`))
	}
	return names
}

func expectRules(t *testing.T, _, text string) {
	t.Helper()
	wantMeaning(t, text)
}

func expectGolden(t *testing.T, name, text string) {
	golden, err := os.ReadFile(filepath.Join("testdata/golden", name+".txt"))
	host.Check(t, err)
	want, _, ok := strings.Cut(strings.TrimPrefix(string(golden), "check:\n"), "\nrepair --dry-run:")
	if got := strings.TrimPrefix(text, "$ devlog-hook check\n"); !ok || got != want {
		t.Errorf("check says\n%s\nand not\n%s", want, got)
	}
}

// where is where a block is run: [in a container | beside a container | beside an
// ordinary container] [on a host [with systemd | with a syslog daemon]].
var where = regexp.MustCompile(`^(?:(in|beside) an? (ordinary )?container ?)?(?:on a host(?: with (systemd|a syslog daemon))?)?$`)

// documentPID is how documents call the container's process.
const documentPID = "4711"

func expectRuns(t *testing.T, at, text string) {
	host.Need(t, "root", "logger")
	m := where.FindStringSubmatch(at)
	if m == nil {
		t.Fatalf("where is %q?", at)
	}
	h := host.NewHost(t)
	host.Check(t, os.WriteFile(h.Path("/run/no.conf"), nil, 0o600))
	if _, err := os.Stat("/etc/devlogd.conf"); err == nil { // the machine's own file is not the documented one
		h.Must("mount", "-n", "--bind", "/run/no.conf", "/etc/devlogd.conf")
	}
	switch m[3] {
	case "systemd":
		host.Check(t, os.Symlink("/run/systemd/journal/dev-log", h.Path("/dev/log")))
	case "a syslog daemon":
		host.ListenOn(t, h, "/dev/log")
	}
	pid, enter := documentPID, []string{}
	if m[1] != "" {
		pid = newContainer(t, h)
		if m[2] != "" { // its /dev is its own
			h.Must("nsenter", "--target", pid, "--mount", "--", "mount", "-n", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/dev")
		}
		if m[1] == "in" {
			enter = []string{"nsenter", "--target", pid, "--mount", "--pid", "--uts", "--"}
		}
	}
	// What a block has started on the host ends with it.
	defer host.ExpectReceiversEnd(t, h)
	defer func() {
		for _, pid := range h.Receivers() {
			h.Do("kill", "-INT", fmt.Sprint(pid)) // it may have ended by itself
		}
	}()
	shell := func(options, script string) host.Result {
		script = strings.ReplaceAll(script, documentPID, pid)
		return h.Do(append(slices.Clone(enter), "env", "PATH="+host.BinDir+":/usr/sbin:/usr/bin:/sbin:/bin", "sh", options, script)...)
	}
	if !strings.HasPrefix(text, "$ ") {
		if r := shell("-euc", text); r.Code != 0 {
			t.Errorf("%+v\n%s", r, text)
		}
		return
	}
	for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
		typed, want, _ := strings.Cut(part+"\n", "\n")
		var got string
		said := func() bool {
			r := shell("-c", typed+" 2>&1")
			got = inDocuments(strings.ReplaceAll(r.Out, "process "+pid, "process "+documentPID))
			return strings.TrimSpace(got) == strings.TrimSpace(inDocuments(want))
		}
		if reads := regexp.MustCompile(`^(cat|grep|tail) `).MatchString(typed); !said() && (!reads || !host.WaitFor(said)) {
			t.Errorf("%s\nsays\n%s\nand not\n%s", typed, got, want)
		}
	}
}

// inDocuments removes what differs each time: the time, process IDs of senders and receivers, and the
// programs' directory.
func inDocuments(text string) string {
	text = regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d `).ReplaceAllString(text, "Mmm dd hh:mm:ss ")
	text = regexp.MustCompile(`(devlogd|logger)\[\d+\]`).ReplaceAllString(text, "$1[PID]")
	text = regexp.MustCompile(`(receiver +devlogd) \d+`).ReplaceAllString(text, "$1 PID")
	return strings.ReplaceAll(text, host.BinDir, "/usr/libexec/devlog")
}

// newContainer starts a container called c1 with only its own processes, /run and /var/log, and returns
// its first process, as the host numbers it. It ends with the test.
func newContainer(t *testing.T, h *host.Host) (pid string) {
	t.Helper()
	cmd := h.Command(context.Background(), "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "private",
		"--", "sh", "-euc", `read -r pid _ </proc/self/stat # of the host, whose /proc this still is
			hostname c1
			mount -n -t proc proc /proc
			for d in /run /var/log; do mount -n -t tmpfs -o mode=755 tmpfs $d; done
			echo "$pid"
			read -r _ || true`)
	in, err := cmd.StdinPipe()
	host.Check(t, err)
	out, err := cmd.StdoutPipe()
	host.Check(t, err)
	cmd.Stderr = os.Stderr
	host.Check(t, cmd.Start())
	t.Cleanup(func() {
		host.Check(t, in.Close())
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of the container: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	host.Check(t, err)
	return strings.TrimSpace(line)
}

// Links in documents lead to existing files and headings, and every page of docs/ can be reached from
// the README.
func TestDocumentLinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	reached := map[string]bool{"../README.md": true, "../CHANGELOG.md": true, "../SECURITY.md": true}
	seen := 0
	for _, file := range documents(t) {
		for _, m := range links.FindAllStringSubmatch(prose(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			seen++
			name, heading, _ := strings.Cut(m[1], "#")
			to := file
			if name != "" {
				to = filepath.Join(filepath.Dir(file), name)
			}
			if filepath.Dir(file) != ".." || strings.HasPrefix(name, "docs/") {
				reached[to] = true
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			} else if heading != "" && !slices.Contains(headings(t, to), heading) {
				t.Errorf("%s links to %s: there are only %q", file, m[1], headings(t, to))
			}
		}
	}
	for _, file := range documents(t) {
		if !reached[file] {
			t.Errorf("no document links to %s", file)
		}
	}
	if seen < 20 {
		t.Errorf("only %d links", seen)
	}
}

// prose returns a document without its blocks.
func prose(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	host.Check(t, err)
	return regexp.MustCompile("(?ms)^```.*?^```$|^    .*?$").ReplaceAllString(string(text), "")
}

// headings returns the anchors of a document's headings.
func headings(t *testing.T, file string) (list []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(t, file), -1) {
		name := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(name, " ", "-"))
	}
	return list
}
