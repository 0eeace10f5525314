// Package environ owns the names of the environment variables by which the
// programs' options can be set: DEVLOG_NAME, DEVLOG_RULE and so on.
package environ

import (
	"slices"
	"strings"
)

// prefix begins every variable of ours.
const prefix = "DEVLOG_"

// variables are the options of all programs, without the prefix: one environment
// may be for several of them.
var variables = []string{
	// devlog-hook
	"PID", "ROOT", "HOST", "KEEP", "KEEP_LOGS", "STRATEGY", "SOCKET", "ADOPT", "FORCE", "RECEIVER", "NO_AUTO_REPAIR", "SUPERVISE", "NAME", "RULE",
	"CONFIG", "RATE", "OVERFLOW", "COMPRESS_REPEATS", "METRICS_FILE", "SANDBOX", "USER", "JSON", "DRY_RUN", "ALL",
	"STAGE", "ANNOTATIONS", "ON_ERROR", "DIR", "CONTAINER", "CONFINED",
	// devlogd
	"LISTEN", "TYPE", "KERNEL", "READY_FD", "LOGS_DIR", "COMMAND_NEEDS", "PRIVATE_DEV", "CHECK_CONFIG", "EXIT_WHEN_ALONE", "AWAIT_INIT", "NOTICE", "LINE_HOST", "HOST_NAME",
	// devlog-runtime
	"RUNTIME",
}

// groups begin the names of further variables: rules, and what the project's own
// tests use.
var groups = []string{"RULE_", "TEST_", "BENCH_", "CRASH"}

const (
	maxName    = 64 // bytes of a name that are repeated
	maxUnknown = 8  // names that are reported
)

// Unknown returns a warning for each variable in environ (NAME=VALUE strings) that
// begins with DEVLOG_ and sets no option, sorted, at most 8.
func Unknown(environ []string) (warnings []string) {
	for _, e := range slices.Sorted(slices.Values(environ)) {
		whole, _, _ := strings.Cut(e, "=")
		name, ours := strings.CutPrefix(whole, prefix)
		inGroup := func(group string) bool { return strings.HasPrefix(name, group) }
		if !ours || slices.Contains(variables, name) || slices.ContainsFunc(groups, inGroup) {
			continue
		}
		if len(warnings) == maxUnknown {
			break
		}
		warnings = append(warnings, "ignored: unknown environment variable "+Shorten(whole))
	}
	return warnings
}

// Shorten cuts a name that somebody else has chosen to a length that can be
// repeated in a message.
func Shorten(name string) string {
	if len(name) > maxName {
		return name[:maxName] + "..."
	}
	return name
}
