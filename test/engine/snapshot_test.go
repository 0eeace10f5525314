package engine

import (
	"strings"

	"devlog/test/host"
)

// leftovers are the temporary names of killed repairs.
func leftovers(s host.Snapshot) []string {
	var list []string
	for _, line := range s {
		if strings.Contains(line, "/.devlog-tmp-") {
			list = append(list, line)
		}
	}
	return list
}
