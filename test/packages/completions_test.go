package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devlog/test/host"
)

// offers makes each shell complete the last word, with devlog's programs first in PATH. zsh completes
// only on a terminal, so the test replaces its functions.
var offers = map[string]func(words []string) *exec.Cmd{
	"bash": func(words []string) *exec.Cmd {
		const script = `source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _devlog_hook; printf '%s\n' "${COMPREPLY[@]}"`
		return exec.Command("bash", append([]string{"-c", script, "bash", completions("bash")}, words...)...)
	},
	"fish": func(words []string) *exec.Cmd {
		return exec.Command("fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", completions("fish"), strings.Join(words, " "))
	},
	"zsh": func(words []string) *exec.Cmd {
		const script = `compadd() { print -rl -- "${(@M)${(@P)2}:#${words[CURRENT]}*}" }
			file=$1; shift; words=("$@"); CURRENT=$#; complete_hook() { source $file }; complete_hook`
		return exec.Command("zsh", append([]string{"-f", "-c", script, "zsh", completions("zsh")}, words...)...)
	},
}

func completions(shell string) string { return "../packaging/completions/devlog-hook." + shell }

// Shells offer the program's commands and options.
func TestCompletions(t *testing.T) {
	for shell, offer := range offers {
		t.Run(shell, func(t *testing.T) {
			host.Need(t, shell)
			for _, tt := range []struct{ words, want, not string }{
				{"devlog-hook re", "repair", "undo"},
				{"devlog-hook check --str", "--strategy", "--root"},
				{"devlog-hook undo --", "--pid --root --host", "--strategy"},
				{"devlog-hook config lx", "lxc lxc-unprivileged", "docker"},
				{"devlog-hook undo -- --", "", "--pid"},
			} {
				cmd := offer(strings.Fields(tt.words))
				bin, err := filepath.Abs(host.BinDir)
				host.Check(t, err)
				cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "PATH="+bin+":"+os.Getenv("PATH"))
				out, err := cmd.CombinedOutput()
				got := strings.Fields(string(out))
				if err != nil && tt.want != "" {
					t.Errorf("%s: %v: %s", tt.words, err, out)
				}
				for _, want := range strings.Fields(tt.want) {
					if !slices.Contains(got, want) {
						t.Errorf("%s: offered are %q, want %s", tt.words, got, want)
					}
				}
				if slices.Contains(got, tt.not) {
					t.Errorf("%s: %s is offered", tt.words, tt.not)
				}
			}
		})
	}
}
