package test

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
)

// documents are what is written for people, but for the manual.
func documents(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../*.md")
	check(t, err)
	check(t, filepath.WalkDir("../docs", func(name string, _ fs.DirEntry, err error) error {
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

// block is a piece of a document to be typed, or read as a file. The comment
// before it, which readers do not see, says what a test makes of it:
//
//	run WHERE        what is behind each "$", with just this output; without
//	                 any "$" it is a script that succeeds
//	run: TestNAME    that test does what it says
//	rules            rules that devlogd takes
//	golden NAME      what check says in that file of testdata/golden
//	illustration     nobody runs it
type block struct {
	at, marker, text string
}

var comment = regexp.MustCompile(`^<!-- (.*) -->$`)

// blocks returns the fenced and the indented blocks of a document.
func blocks(t *testing.T, file string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	last, blank, fenced, open := "", true, false, false
	for i, line := range strings.Split(string(text), "\n") {
		fence := strings.HasPrefix(line, "```")
		indented := !fenced && strings.HasPrefix(line, "    ")
		switch {
		case fence && fenced:
			fenced = false
		case fence, indented && !open && blank:
			b := block{at: fmt.Sprintf("%s:%d", file, i+1)}
			if m := comment.FindStringSubmatch(last); m != nil {
				b.marker = m[1]
			}
			list = append(list, b)
			fenced, open = fence, indented
		case open && line != "":
			open = indented
		}
		if b := len(list) - 1; !fence && (fenced || open) {
			list[b].text += strings.TrimPrefix(line, map[bool]string{true: "    "}[open]) + "\n"
		}
		if blank = strings.TrimSpace(line) == ""; !blank {
			last = line
		}
	}
	if fenced {
		t.Errorf("%s: a fence without an end", file)
	}
	return list
}

// displays returns the examples of a page of the manual, marked by the same
// comments as roff writes them.
func displays(t *testing.T, page string) (list []block) {
	t.Helper()
	data, err := os.ReadFile(page)
	check(t, err)
	_, text, _ := strings.Cut(string(data), "\n.Sh EXAMPLES\n")
	text, _, _ = strings.Cut(text+"\n", "\n.Sh ")
	for i, display := range regexp.MustCompile(`(?ms)^(?:\.\\" ([^\n]*)\n)?\.Bd [^\n]*\n(.*?)^\.Ed$`).FindAllStringSubmatch(text, -1) {
		list = append(list, block{fmt.Sprintf("%s, example %d", page, i+1), display[1], strings.ReplaceAll(display[2], `\e`, `\`)})
	}
	if len(list) == 0 {
		t.Errorf("%s has no examples", page)
	}
	return list
}

// Everything that documents show is done as it is shown, or marked as what it
// is.
func TestDocumentBlocks(t *testing.T) {
	tests := elsewhere(t)
	maps.Copy(tests, testNames(t, "*_test.go"))
	run := 0
	pages, err := filepath.Glob("../man/*")
	check(t, err)
	for _, file := range append(documents(t), pages...) {
		read := blocks
		if slices.Contains(pages, file) {
			read = displays
		}
		for _, b := range read(t, file) {
			b.at = strings.TrimPrefix(b.at, "../")
			kind, what, _ := strings.Cut(b.marker, " ")
			switch kind {
			case "illustration":
			case "run:":
				for _, name := range strings.Split(what, ", ") {
					if !tests[name] {
						t.Errorf("%s: there is no %s", b.at, name)
					}
				}
			case "rules", "golden", "run":
				run++
				t.Run(b.at, func(t *testing.T) {
					map[string]func(*testing.T, string, string){"rules": expectRules, "golden": expectGolden, "run": expectRuns}[kind](t, what, b.text)
				})
			default:
				t.Errorf("%s: %q does not say what to make of this block:\n%s", b.at, b.marker, b.text)
			}
		}
	}
	if run < 10 {
		t.Errorf("only %d blocks are run", run)
	}
}

// elsewhere are the names of what tests documents outside this package: the tests of
// the plugin's module, and the scenarios of make test-engines.
func elsewhere(t *testing.T) set {
	t.Helper()
	s := testNames(t, "../nri/*_test.go")
	maps.Copy(s, testNames(t, "../nri/cmd/*/*_test.go"))
	scenarios, err := filepath.Glob("engines/*.sh")
	check(t, err)
	for _, name := range scenarios {
		s[strings.TrimSuffix(name, ".sh")] = true
	}
	return s
}

// testNames are the names of the tests in the files that match.
func testNames(t *testing.T, pattern string) set {
	t.Helper()
	files, err := filepath.Glob(pattern)
	check(t, err)
	names := set{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		check(t, err)
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
	check(t, err)
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
	need(t, "root", "logger")
	m := where.FindStringSubmatch(at)
	if m == nil {
		t.Fatalf("where is %q?", at)
	}
	h := NewHost(t)
	check(t, os.WriteFile(h.Path("/run/no.conf"), nil, 0o600))
	if _, err := os.Stat("/etc/devlogd.conf"); err == nil { // the machine's is not what is documented
		h.Must("mount", "-n", "--bind", "/run/no.conf", "/etc/devlogd.conf")
	}
	switch m[3] {
	case "systemd":
		check(t, os.Symlink("/run/systemd/journal/dev-log", h.Path("/dev/log")))
	case "a syslog daemon":
		listenOn(t, h, "/dev/log")
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
	defer expectReceiversEnd(t, h)
	defer func() {
		for _, pid := range h.Receivers() {
			h.Do("kill", "-INT", fmt.Sprint(pid)) // it may have ended by itself
		}
	}()
	shell := func(options, script string) Result {
		script = strings.ReplaceAll(script, documentPID, pid)
		return h.Do(append(slices.Clone(enter), "env", "PATH="+binDir+":/usr/sbin:/usr/bin:/sbin:/bin", "sh", options, script)...)
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
		if reads := regexp.MustCompile(`^(cat|grep|tail) `).MatchString(typed); !said() && (!reads || !waitFor(said)) {
			t.Errorf("%s\nsays\n%s\nand not\n%s", typed, got, want)
		}
	}
}

// inDocuments leaves out what is another at each time: the time, process IDs of
// senders and receivers, and where the programs are.
func inDocuments(text string) string {
	text = regexp.MustCompile(`(?m)^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d `).ReplaceAllString(text, "Mmm dd hh:mm:ss ")
	text = regexp.MustCompile(`(devlogd|logger)\[\d+\]`).ReplaceAllString(text, "$1[PID]")
	text = regexp.MustCompile(`(receiver +devlogd) \d+`).ReplaceAllString(text, "$1 PID")
	return strings.ReplaceAll(text, binDir, "/usr/libexec/devlog")
}

// newContainer starts a container called c1 that has nothing of its own but
// processes, /run and /var/log, and returns the host's number of its first
// process. It ends with the test.
func newContainer(t *testing.T, h *Host) (pid string) {
	t.Helper()
	cmd := h.Command(context.Background(), "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--propagation", "private",
		"--", "sh", "-euc", `read -r pid _ </proc/self/stat # of the host, whose /proc this still is
			hostname c1
			mount -n -t proc proc /proc
			for d in /run /var/log; do mount -n -t tmpfs -o mode=755 tmpfs $d; done
			echo "$pid"
			read -r _ || true`)
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	t.Cleanup(func() {
		check(t, in.Close())
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of the container: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	return strings.TrimSpace(line)
}

// What documents link to is there, down to the heading, and every page of docs/
// is reached from the README.
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

// prose is a document without its blocks.
func prose(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	return regexp.MustCompile("(?ms)^```.*?^```$|^    .*?$").ReplaceAllString(string(text), "")
}

// headings are the names by which links call the headings of a document.
func headings(t *testing.T, file string) (list []string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(prose(t, file), -1) {
		name := regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(name, " ", "-"))
	}
	return list
}
