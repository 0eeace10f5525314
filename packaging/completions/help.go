package main

import (
	"regexp"
	"strings"
)

// program is what can be typed behind a program's name.
type program struct {
	name     string
	flags    []flag // in front of a command
	commands []command
}

type command struct {
	name, usage string
	flags       []flag
	kinds       []command // what it has commands of its own for, by name and usage
}

// flag is an option. value is what its help calls its value, empty if it has
// none.
type flag struct {
	name, short  string // without dashes
	value, usage string
	repeated     bool
	choices      []string // all its values, if its help lists them
}

// A line of help about an option: in front of two blanks what is typed, behind
// them what it means. Lines that are further in go on with that.
var (
	flagLine = regexp.MustCompile(`^ {2,3}(--[a-z].*?)(?: {2,}(.*))?$`)
	moreLine = regexp.MustCompile(`^ {4,}(\S.*)$`)
)

// parseFlags finds the options in the text of a --help.
func parseFlags(help string) []flag {
	var list []flag
	open := false // the line before was about an option
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		if m := flagLine.FindStringSubmatch(line); m != nil {
			list = append(list, parseFlag(m[1], m[2])...)
			open = true
		} else if m := moreLine.FindStringSubmatch(line); m != nil && open {
			list[len(list)-1].usage += " " + m[1]
		} else {
			open = false
		}
	}
	for i := range list {
		list[i].complete()
	}
	return list
}

// parseFlag reads "--name VALUE [ --name VALUE ]", "--name, -n" and "--name,
// --other", which are two.
func parseFlag(typed, usage string) []flag {
	typed, _, repeated := strings.Cut(typed, " [ ")
	typed, value, _ := strings.Cut(strings.ReplaceAll(typed, ", ", ","), " ")
	var list []flag
	for name := range strings.SplitSeq(typed, ",") {
		if long, ok := strings.CutPrefix(name, "--"); ok && long != "" {
			list = append(list, flag{name: long, value: value, usage: usage, repeated: repeated})
		} else {
			list[len(list)-1].short = strings.TrimPrefix(name, "-")
		}
	}
	return list
}

var (
	variables = regexp.MustCompile(`\s*\[\$DEVLOG_[^]]*\]`)
	aside     = regexp.MustCompile(`\s+\([^)]*\)`)
	word      = regexp.MustCompile(`^[A-Za-z]+$`)
)

// complete reads from the usage what else there is to know, and makes it short.
func (f *flag) complete() {
	text := variables.ReplaceAllString(f.usage, "")
	f.repeated = f.repeated || strings.Contains(text, "may be repeated")
	text = aside.ReplaceAllString(strings.ReplaceAll(text, "; may be repeated", ""), "")
	if before, list, ok := cutLast(text, ": "); ok && f.value != "" {
		if f.choices = parseChoices(list); f.choices != nil {
			text = before
		}
	}
	for _, end := range []string{"; ", ": "} {
		if len(text) > maxUsage {
			text, _, _ = strings.Cut(text, end)
		}
	}
	f.usage = text
}

// maxUsage is how long a text beside a list of options may be, in bytes.
const maxUsage = 80

// parseChoices reads "a, b or c", all of them single words. Anything else is
// no list.
func parseChoices(list string) []string {
	choices := strings.Split(strings.ReplaceAll(list, " or ", ", "), ", ")
	for _, c := range choices {
		if len(choices) == 1 || !word.MatchString(c) {
			return nil
		}
	}
	return choices
}

func cutLast(s, separator string) (before, after string, ok bool) {
	at := strings.LastIndex(s, separator)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(separator):], true
}

// parseCommands finds the commands in the text of a --help.
func parseCommands(help string) []command {
	_, text, ok := strings.Cut(help, "\nCOMMANDS:\n")
	if !ok {
		return nil
	}
	text, _, _ = strings.Cut(text, "\n\n")
	var list []command
	for line := range strings.Lines(text) {
		typed, usage, _ := strings.Cut(strings.TrimSpace(line), "  ")
		name, _, _ := strings.Cut(typed, ",") // behind it are shorter ones
		list = append(list, command{name: name, usage: strings.TrimSpace(usage)})
	}
	return list
}
