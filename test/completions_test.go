package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const completionsDir = "../packaging/completions"

// The completions are what --help says now.
func TestCompletionsCurrent(t *testing.T) {
	made := t.TempDir()
	check(t, command("go", "run", "devlog/packaging/completions", binDir, made))
	names, err := os.ReadDir(made)
	check(t, err)
	if len(names) != 2*3 {
		t.Errorf("made: %v", names)
	}
	for _, n := range names {
		want, err := os.ReadFile(filepath.Join(made, n.Name()))
		check(t, err)
		got, err := os.ReadFile(filepath.Join(completionsDir, n.Name()))
		check(t, err)
		if string(got) != string(want) {
			t.Errorf("%s is not what --help says: make completions", n.Name())
		}
	}
}

// helpOf is what a program's --help says.
func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(binDir, args[0]), append(args[1:], "--help")...).Output()
	check(t, err)
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

// offered is what a shell offers for the last of the words.
var offered = map[string]func(t *testing.T, words ...string) []string{
	"bash": func(t *testing.T, words ...string) []string {
		const script = `source "$1/$2.bash"; compopt() { :; }
			shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); "_${1//-/_}"; printf '%s\n' "${COMPREPLY[@]}"`
		return ask(t, append([]string{"bash", "-c", script, "bash", completionsDir}, words...)...)
	},
	"fish": func(t *testing.T, words ...string) []string {
		return ask(t, "fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]",
			completionsDir+"/"+words[0]+".fish", strings.Join(words, " "))
	},
}

// ask runs a command and returns its lines up to a tab, behind which fish says
// what they mean.
func ask(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		if line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "\t"); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// Shells offer every command and every option that --help names, and no other.
func TestCompletionsOffer(t *testing.T) {
	long := regexp.MustCompile(`--[a-z][a-z-]*`)
	for shell, offer := range offered {
		t.Run(shell, func(t *testing.T) {
			need(t, shell)
			for _, words := range commandLines(t) {
				var want []string
				for line := range strings.Lines(helpOf(t, words...)) {
					if strings.HasPrefix(strings.TrimSpace(line), "--") {
						typed, _, _ := strings.Cut(strings.TrimSpace(line), "  ")
						want = append(want, long.FindAllString(typed, -1)...)
					}
				}
				slices.Sort(want)
				want = slices.Compact(want)
				got := offer(t, append(slices.Clone(words), "--")...)
				slices.Sort(got)
				least := 5
				if words[len(words)-1] == "config" {
					least = 1 // what it prints is chosen by a name
				}
				if !slices.Equal(got, want) || len(want) < least {
					t.Errorf("%q: offered are %q, want %q", words, got, want)
				}
			}
			for _, tt := range []struct{ words, want []string }{
				{[]string{"devlog-hook", "re"}, []string{"repair"}},
				{[]string{"devlog-hook", "repair", "--strategy", "a"}, []string{"adopt", "auto"}},
				{[]string{"devlog-hook", "check", "--str"}, []string{"--strategy"}},
				{[]string{"devlog-hook", "config", "lx"}, []string{"lxc", "lxc-unprivileged"}},
				{[]string{"devlog-hook", "check", "--root", completionsDir + "/../comp"}, []string{completionsDir + "/../completions"}},
				{[]string{"devlogd", "--config", completionsDir + "/sh"}, []string{completionsDir + "/shells.go"}},
			} {
				got := offer(t, tt.words...)
				for i := range got {
					got[i] = strings.TrimSuffix(got[i], "/")
				}
				slices.Sort(got)
				if !slices.Equal(got, tt.want) {
					t.Errorf("%q: offered are %q, want %q", tt.words, got, tt.want)
				}
			}
		})
	}
}

// zsh completes on a terminal only; that it can read the files, and hands each
// option to its own completer, is seen without.
func TestCompletionsZsh(t *testing.T) {
	need(t, "zsh")
	const script = `_arguments() { print -rl -- "$@"; [[ $1 != -C ]] || { state=$wanted; words=($command) } }
		_describe() { print -rl -- "${(@P)2}" }
		wanted=$2 command=$3
		source "$1"`
	for _, tt := range []struct{ file, state, words, want string }{
		{"devlogd", "", "", "--config=[read rules from FILE]:FILE:_files"},
		{"devlog-hook", "command", "", "undo:put back what repair changed"},
		{"devlog-hook", "options", "repair", "--strategy=[HOW to repair]:HOW:(auto adopt symlink bind)"},
	} {
		cmd := exec.Command("zsh", "-f", "-c", script, "zsh",
			filepath.Join(completionsDir, tt.file+".zsh"), tt.state, tt.words)
		out, err := cmd.CombinedOutput()
		if err != nil || !slices.Contains(strings.Split(string(out), "\n"), tt.want) {
			t.Errorf("%s: %v, %s\nwant %s", cmd, err, out, tt.want)
		}
	}
}
