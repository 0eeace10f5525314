// Package environ owns the names of the environment variables that set the programs' options:
// DEVLOG_NAME, DEVLOG_RULE and so on.
package environ

import (
	"slices"
	"strings"
)

// prefix begins every variable of devlog's.
const prefix = "DEVLOG_"

// variables are the options of all programs, without the prefix: several programs may get the
// same environment.
var variables = []string{
	// devlog-hook
	"PID", "ROOT", "HOST", "KEEP", "KEEP_LOGS", "STRATEGY", "SOCKET", "ADOPT", "FORCE", "RECEIVER", "JOURNAL", "NO_AUTO_REPAIR", "NAME", "RULE",
	"CONFIG", "RATE", "OVERFLOW", "COMPRESS_REPEATS", "METRICS_FILE", "SANDBOX", "USER", "JSON", "DRY_RUN", "ALL",
	"STAGE", "ANNOTATIONS", "ON_ERROR", "DIR", "CONTAINER", "CONFINED",
	// devlogd
	"LISTEN", "TYPE", "KERNEL", "READY_FD", "LOGS_DIR", "COMMAND_NEEDS", "PRIVATE_DEV", "CHECK_CONFIG", "EXIT_WHEN_ALONE", "AWAIT_INIT", "NOTICE", "LINE_HOST", "CONTAINER_NAME", "HOST_NAME",
	// devlog-runtime
	"RUNTIME",
}

// groups are prefixes of further variables: rules, and those of the project's tests.
var groups = []string{"RULE_", "TEST_", "BENCH_", "CRASH"}

const (
	maxName    = 64 // bytes of a name that are repeated
	maxUnknown = 8  // names that are reported
)

// Unknown returns a warning for each variable in environ (NAME=VALUE) that begins with DEVLOG_
// and sets no option. They are sorted, and at most 8.
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

// Shorten cuts a name from outside to a length for messages.
func Shorten(name string) string {
	if len(name) > maxName {
		return name[:maxName] + "..."
	}
	return name
}
