// Package words owns the names that users type: which one a wrong one was meant
// to be, and which variables are no option's.
package words

import (
	"slices"
	"strings"
)

// maxWord is how long a word may be to be looked at, in bytes: whoever starts
// containers chooses some of them.
const maxWord = 64

// Near returns that of the names which the word, that is none of them, was
// probably meant to be; empty if there is none.
func Near(word string, names []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, least := "", min(2, len(word)/3)+1
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// Meant is the question whether a name near to the word was meant, to stand behind
// that in a sentence; empty if no name is near. Names begin with the prefix when
// they are typed.
func Meant(word string, names []string, prefix string) string {
	if name := Near(word, names); name != "" {
		return " (did you mean " + prefix + name + "?)"
	}
	return ""
}

// distance is how many bytes have to be put in, taken out, replaced or exchanged
// with the next one to make b of a.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := range len(a) {
		for j := range len(b) {
			d := rows[i][j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, rows[i][j+1]+1, rows[i+1][j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(a)][len(b)]
}

// prefix begins every variable of ours.
const prefix = "DEVLOG_"

// variables are those of the programs' options, without the prefix. Each program
// passes over those of the others, which one environment may be for.
var variables = []string{
	// devlog-hook
	"PID", "ROOT", "HOST", "KEEP", "STRATEGY", "SOCKET", "ADOPT", "FORCE", "RECEIVER", "NO_HEAL", "SUPERVISE", "NAME", "RULE",
	"CONFIG", "RATE", "OVERFLOW", "COMPRESS_REPEATS", "METRICS_FILE", "SANDBOX", "USER", "JSON", "DRY_RUN", "ALL",
	"STAGE", "ANNOTATIONS", "ON_ERROR", "DIR", "CONTAINER", "CONFINED",
	// devlogd
	"LISTEN", "TYPE", "KERNEL", "READY_FD", "LOGS_DIR", "COMMAND_NEEDS", "CHECK_CONFIG", "EXIT_WHEN_ALONE", "AWAIT_INIT", "NOTICE", "LINE_HOST", "HOST_NAME",
	// devlog-runtime
	"RUNTIME",
}

// others begin the variables that more may be behind: rules, and what the
// project's own tests use.
var others = []string{"RULE_", "TEST_", "BENCH_", "CRASH"}

// maxUnknown is how many variables are told of.
const maxUnknown = 8

// UnknownVariables says in a sentence each, sorted, which of the variables in an
// environment of NAME=VALUE strings look like an option's and are none's.
func UnknownVariables(environ []string) (said []string) {
	for _, e := range slices.Sorted(slices.Values(environ)) {
		whole, _, _ := strings.Cut(e, "=")
		name, ours := strings.CutPrefix(whole, prefix)
		begins := func(other string) bool { return strings.HasPrefix(name, other) }
		if !ours || slices.Contains(variables, name) || slices.ContainsFunc(others, begins) {
			continue
		}
		if len(said) == maxUnknown {
			break
		}
		said = append(said, "environment variable "+Cut(whole)+Meant(name, variables, prefix)+": it is no option's, and passed over")
	}
	return said
}

// Cut makes a word that somebody else has chosen short enough to be repeated.
func Cut(word string) string {
	if len(word) > maxWord {
		return word[:maxWord] + "..."
	}
	return word
}
