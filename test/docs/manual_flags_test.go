package docs

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// set is a set of options, without their dashes.
type set map[string]bool

// less returns what other does not have, sorted.
func (s set) less(other set) []string {
	s = maps.Clone(s)
	maps.DeleteFunc(s, func(name string, _ bool) bool { return other[name] })
	return slices.Sorted(maps.Keys(s))
}

// found is what the pattern's group finds in the text.
func found(text, pattern string) set {
	s := set{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		s[m[1]] = true
	}
	return s
}

// helpFlags are the options that --help of a command explains.
func helpFlags(t *testing.T, words ...string) set {
	t.Helper()
	s := set{}
	for line := range strings.Lines(helpOf(t, words...)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "--") {
			continue
		}
		// The description follows after two blanks; a name may be behind a comma.
		typed, _, _ := strings.Cut(line, "  ")
		typed, _, _ = strings.Cut(typed, " `")
		maps.Copy(s, found(typed, `(?:^|, )--([a-z][a-z-]*)`))
	}
	return s
}

// configFlags are the options that any kind of configuration has.
func configFlags(t *testing.T) set {
	t.Helper()
	s := helpFlags(t, "devlog-hook", "config", "podman")
	maps.Copy(s, helpFlags(t, "devlog-hook", "config", "rsyslog"))
	return s
}

// manualPage is a page of the manual, and of that the synopsis.
func manualPage(t *testing.T, page string) (text, synopsis string) {
	t.Helper()
	data, err := os.ReadFile("../man/" + page)
	host.Check(t, err)
	_, synopsis, ok := strings.Cut(string(data), "\n.Sh SYNOPSIS\n")
	synopsis, _, also := strings.Cut(synopsis, "\n.Sh ")
	if !ok || !also {
		t.Fatalf("%s has no synopsis", page)
	}
	return string(data), synopsis
}

// option is one as a page writes it.
const option = `Fl -([a-z][a-z-]*)`

// explained are the options that a page explains.
func explained(text string) set {
	s := set{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ".It Fl -") {
			maps.Copy(s, found(line, option))
		}
	}
	return s
}

// everywhere are the options of every program, which no synopsis repeats.
var everywhere = set{"help": true, "version": true}

// Every option in --help is in the manual, and the reverse.
func TestManualFlags(t *testing.T) {
	for _, program := range []string{"devlogd", "devlog-hook"} {
		text, synopsis := manualPage(t, program+".8")
		all, written := set{}, set{}
		var repair set
		// A synopsis has a part for each command, behind ".Nm".
		for _, part := range strings.Split("\n"+synopsis, "\n.Nm\n")[1:] {
			words := []string{program}
			if m := regexp.MustCompile(`^\.Cm ([a-z]+)`).FindStringSubmatch(part); m != nil {
				words = append(words, m[1])
			} else if program == "devlog-hook" {
				continue // LXC's call, without options
			}
			said, has := found(part, option), helpFlags(t, words...)
			if strings.Contains(part, ".Ar KIND") {
				has = configFlags(t)
			}
			if words[len(words)-1] == "repair" {
				repair = said
			}
			maps.Copy(all, has)
			maps.Copy(written, said)
			if strings.Contains(part, ".Op options of repair") {
				maps.DeleteFunc(has, func(name string, _ bool) bool { return repair[name] })
			}
			maps.Copy(said, everywhere)
			maps.Copy(has, everywhere)
			if missing, extra := has.less(said), said.less(has); missing != nil || extra != nil {
				t.Errorf("%q: the synopsis lacks %q; --help lacks %q", words, missing, extra)
			}
		}
		if len(all) < 10 || len(written) < 10 {
			t.Fatalf("%s: only %d options in --help, %d in the manual", program, len(all), len(written))
		}
		maps.Copy(all, helpFlags(t, program))
		list := explained(text)
		if missing, extra := all.less(list), list.less(all); missing != nil || extra != nil {
			t.Errorf("%s.8 does not explain %q; --help lacks %q", program, missing, extra)
		}
	}
	// All that this one is given is the real runtime's.
	if text, _ := manualPage(t, "devlog-runtime.8"); strings.Contains(text, "\n.It Fl ") {
		t.Error("devlog-runtime.8 explains options; it has none")
	}
}

// The commands that --help names are those of the manual.
func TestManualNamesCommands(t *testing.T) {
	text, synopsis := manualPage(t, "devlog-hook.8")
	said := found(synopsis, `(?m)^\.Nm\n\.Cm ([a-z]+)`)
	has := set{}
	for _, words := range commandLines(t) {
		if words[0] == "devlog-hook" {
			has[words[1]] = true
		}
	}
	if missing, extra := has.less(said), said.less(has); missing != nil || extra != nil {
		t.Errorf("the synopsis lacks %q; --help lacks %q", missing, extra)
	}
	kinds := found(text[strings.Index(text, ".It Cm config"):strings.Index(text, ".It Cm auto-repair")], `(?m)^\.Cm ([a-z0-9-]+)`)
	_, list, _ := strings.Cut(helpOf(t, "devlog-hook", "config"), "\nCOMMANDS:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	offered := found(list, `(?m)^   ([a-z0-9-]+) `)
	if missing, extra := offered.less(kinds), kinds.less(offered); missing != nil || extra != nil || len(kinds) < 5 {
		t.Errorf("config: the manual lacks %q; --help lacks %q", missing, extra)
	}
}

// What is typed in any document has only options that there are, and what else
// it names is there.
func TestDocumentFlags(t *testing.T) {
	texts := map[string]string{}
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		host.Check(t, err)
		texts[file] = string(text)
	}
	seen := 0
	for file, text := range texts {
		for _, m := range regexp.MustCompile("(?m)(?:^ *(?:\\$ )?|`)(devlogd|devlog-hook [a-z]+)((?: +[^`\n|;>&]+)?)").FindAllStringSubmatch(text, -1) {
			typed := found(m[2], `(?:^| )--([a-z][a-z-]*)`)
			if len(typed) == 0 {
				continue
			}
			seen++
			words := strings.Fields(m[1])
			if !slices.ContainsFunc(commandLines(t), func(known []string) bool { return slices.Equal(known, words) }) {
				t.Errorf("%s: there is no command %q: %s", file, m[1], m[0])
				continue
			}
			has := helpFlags(t, words...)
			if words[len(words)-1] == "config" {
				has = configFlags(t)
			}
			maps.Copy(has, everywhere)
			if extra := typed.less(has); extra != nil {
				t.Errorf("%s: %s has no %q: %s", file, m[1], extra, m[0])
			}
		}
	}
	makefile, err := os.ReadFile("../Makefile")
	host.Check(t, err)
	targets, tests := found(string(makefile), `(?m)^([a-z-]+):`), testNames(t, "*/*_test.go")
	maps.Copy(tests, testNames(t, "../internal/*/*_test.go"))
	maps.Copy(tests, elsewhere(t))
	for file, text := range texts {
		if extra := found(text, "(?m)(?:^ *|`)make ([a-z-]+)").less(targets); extra != nil {
			t.Errorf("%s: make does not know %q", file, extra)
		}
		if extra := found(text, `\b((?:Test|Fuzz)[A-Z]\w+)`).less(tests); extra != nil {
			t.Errorf("%s: there is no %q", file, extra)
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands with options in all documents", seen)
	}
}

// helpOf is what a program's --help says.
func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(host.BinDir, args[0]), append(args[1:], "--help")...).Output()
	host.Check(t, err)
	return string(out)
}

// commandLines are the programs, with each of their commands.
func commandLines(t *testing.T) [][]string {
	t.Helper()
	list := [][]string{{"devlogd"}}
	_, commands, _ := strings.Cut(helpOf(t, "devlog-hook"), "\nCOMMANDS:\n")
	commands, _, _ = strings.Cut(commands, "\n\n")
	for line := range strings.Lines(commands) {
		list = append(list, []string{"devlog-hook", strings.Fields(line)[0]})
	}
	if len(list) < 5 {
		t.Fatalf("devlog-hook --help names only the commands %q", list)
	}
	return list
}
