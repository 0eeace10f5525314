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

// less returns the options that other lacks, sorted.
func (s set) less(other set) []string {
	s = maps.Clone(s)
	maps.DeleteFunc(s, func(name string, _ bool) bool { return other[name] })
	return slices.Sorted(maps.Keys(s))
}

// found returns what the pattern's group finds in the text.
func found(text, pattern string) set {
	s := set{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		s[m[1]] = true
	}
	return s
}

// helpFlags returns the options that --help of a command explains.
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

// configFlags returns the options of all kinds of configuration.
func configFlags(t *testing.T) set {
	t.Helper()
	s := helpFlags(t, "devlog-hook", "config", "podman")
	maps.Copy(s, helpFlags(t, "devlog-hook", "config", "rsyslog"))
	return s
}

// manualPage is a page of the manual, and its synopsis.
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

// explained returns the options that a page explains.
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

// page returns the page of the manual for a command.
func page(words []string) string { return strings.Join(words, "-") + ".8" }

// Every option in --help is in the page of its command, and the reverse.
func TestManualFlags(t *testing.T) {
	repair := helpFlags(t, "devlog-hook", "repair")
	for _, words := range commandLines(t) {
		text, synopsis := manualPage(t, page(words))
		has := helpFlags(t, words...)
		if words[len(words)-1] == "config" {
			has = configFlags(t)
		}
		if strings.Contains(synopsis, ".Op options of repair") {
			maps.DeleteFunc(has, func(name string, _ bool) bool { return repair[name] })
		}
		listed, explained := found(synopsis, option), explained(text)
		for _, s := range []set{has, listed, explained} {
			maps.DeleteFunc(s, func(name string, _ bool) bool { return everywhere[name] })
		}
		if missing, extra := has.less(listed), listed.less(has); missing != nil || extra != nil {
			t.Errorf("%s: the synopsis lacks %q; --help lacks %q", page(words), missing, extra)
		}
		if missing, extra := has.less(explained), explained.less(has); missing != nil || extra != nil {
			t.Errorf("%s does not explain %q; --help lacks %q", page(words), missing, extra)
		}
		if len(has) == 0 {
			t.Errorf("%q has no options", words)
		}
	}
	if text, _ := manualPage(t, "devlog-hook.8"); len(everywhere.less(explained(text))) > 0 {
		t.Errorf("devlog-hook.8 explains only %v", explained(text))
	}
	// All arguments of this one are the real runtime's.
	if text, _ := manualPage(t, "devlog-runtime.8"); strings.Contains(text, "\n.It Fl ") {
		t.Error("devlog-runtime.8 explains options; it has none")
	}
}

// Each command in --help has a page of the manual, and the reverse.
func TestManualNamesCommands(t *testing.T) {
	text, _ := manualPage(t, "devlog-hook.8")
	said, has, pages := found(text, `(?m)^\.It Cm ([a-z]+)$`), set{}, set{"devlog-hook": true, "devlog-hook-lxc": true}
	for _, words := range commandLines(t) {
		if words[0] == "devlog-hook" {
			has[words[1]], pages[strings.Join(words, "-")] = true, true
		}
	}
	if missing, extra := has.less(said), said.less(has); missing != nil || extra != nil {
		t.Errorf("devlog-hook.8 lacks %q; --help lacks %q", missing, extra)
	}
	files, err := filepath.Glob("../man/devlog-hook*.8")
	host.Check(t, err)
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".8"); !pages[name] {
			t.Errorf("%s is no command's", file)
		} else if name != "devlog-hook" && !strings.Contains(text, ".Xr "+name+" 8 ,\n") && !strings.Contains(text, ".Xr "+name+" 8\n") {
			t.Errorf("devlog-hook.8 does not refer to %s", name)
		}
	}
	text, _ = manualPage(t, "devlog-hook-config.8")
	_, list, _ := strings.Cut(text, "\n.Ar KIND\nis\n")
	list, _, _ = strings.Cut(list, "\n.Pp\n")
	kinds := found(list, `(?m)^\.Cm ([a-z0-9-]+)`)
	_, list, _ = strings.Cut(helpOf(t, "devlog-hook", "config"), "\nCOMMANDS:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	offered := found(list, `(?m)^   ([a-z0-9-]+) `)
	if missing, extra := offered.less(kinds), kinds.less(offered); missing != nil || extra != nil || len(kinds) < 5 {
		t.Errorf("config: the manual lacks %q; --help lacks %q", missing, extra)
	}
}

// Commands in documents use only existing options, commands and kinds.
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

// helpOf returns a program's --help.
func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(host.BinDir, args[0]), append(args[1:], "--help")...).Output()
	host.Check(t, err)
	return string(out)
}

// commandLines returns the programs, with each of their commands.
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
