package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"devlog/internal/usage"
)

func TestContainerLast(t *testing.T) {
	commands := (&program{}).app(nil).Commands
	for args, want := range map[string]string{
		"":                            "",
		"check":                       "check",
		"check web":                   "check -- web",
		"check web --json":            "check --json -- web",
		"check --socket /run/a web":   "check --socket /run/a -- web",
		"check web --socket /run/a":   "check --socket /run/a -- web",
		"check web --socket=/run/a x": "check --socket=/run/a -- web x",
		"check web --socket":          "check --socket -- web",
		"check --json":                "check --json",
		"check -- --json":             "check -- --json",
		"check --bogus web":           "check --bogus -- web",
		"repair web --dry-run -pid 3": "repair --dry-run -pid 3 -- web",
		"undo - x":                    "undo -- - x",
		"oci web --stage x":           "oci web --stage x",
		"config docker --dir d":       "config docker --dir d",
		"check web -- --generate-bash-completion": "check web -- --generate-bash-completion",
		"bogus web --json":                        "bogus web --json",
	} {
		got := usage.ContainerLast(append([]string{"devlog-hook"}, strings.Fields(args)...), commands)
		if !slices.Equal(got[1:], strings.Fields(want)) {
			t.Errorf("usage.ContainerLast(%s) = %s, want %s", args, got, want)
		}
	}
}

func FuzzContainerLast(f *testing.F) {
	f.Add("check\nweb\n--json")
	f.Add("repair\n--\n--rule\n*.* /x")
	f.Fuzz(func(t *testing.T, text string) {
		args := append([]string{"devlog-hook"}, strings.Split(text, "\n")...)
		got := usage.ContainerLast(args, (&program{}).app(nil).Commands)
		if without(got) != without(args) {
			t.Errorf("usage.ContainerLast(%q) = %q", args, got)
		}
	})
}

// without returns the arguments except "--", sorted.
func without(args []string) string {
	args = slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "--" })
	slices.Sort(args)
	return strings.Join(args, "\n")
}

// An empty container name never means this process's own root.
func TestEmptyContainer(t *testing.T) {
	clean(t)
	for _, command := range []string{"check", "repair", "undo"} {
		var out, errs bytes.Buffer
		if code := Main([]string{"devlog-hook", command, ""}, strings.NewReader(""), &out, &errs); code != exitUsage {
			t.Errorf("%s: exit code %d", command, code)
		}
		oneLine(t, errs.String(), "the container's name is empty")
	}
}
