package syslogconf

import (
	"slices"
	"strings"
)

// rulesVariable is the environment variable with rules, one a line. Each variable whose name
// begins with it and "_" also holds one rule: some values can have no line breaks, as in
// lxc.environment of lxc.container.conf(5).
const rulesVariable = "DEVLOG_RULE"

// RulesFromEnv returns the rules in an environment of NAME=VALUE strings, in
// the order of the variables' names.
func RulesFromEnv(environ []string) []string {
	var found []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if name == rulesVariable || strings.HasPrefix(name, rulesVariable+"_") {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b string) int {
		x, _, _ := strings.Cut(a, "=")
		y, _, _ := strings.Cut(b, "=")
		return strings.Compare(x, y)
	})
	var rules []string
	for _, e := range found {
		_, value, _ := strings.Cut(e, "=")
		for rule := range strings.SplitSeq(value, "\n") {
			if strings.TrimSpace(rule) != "" {
				rules = append(rules, rule)
			}
		}
	}
	return rules
}
