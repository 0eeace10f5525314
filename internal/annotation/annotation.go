// Package annotation owns the annotations of containers: which of them are
// ours, and what Kubernetes calls a container.
package annotation

import (
	"maps"
	"slices"
	"strings"
)

// Prefix begins our annotations: devlog.dev/NAME. Kubernetes wants a domain in
// front of the name of what is not its own ("Annotations", "Syntax and character
// set").
const Prefix = "devlog.dev/"

// What our annotations were called before: devlog, devlog.NAME.
const (
	oldLog    = "devlog"
	oldPrefix = oldLog + "."
)

// Log is the name of the annotation that turns devlog on or off for a container.
const Log = "log"

// The values of Log.
const (
	On  = "on"
	Off = "off"
)

// Said is one annotation of ours.
type Said struct {
	// Key is the annotation as it was written, for errors.
	Key string
	// Value is its value.
	Value string
	rank  int
}

// Ours returns those of a container's annotations that are ours, by their names
// without a prefix. In a pod, devlog.dev/NAME.CONTAINER is for the container of
// that name only, and comes before devlog.dev/NAME; both come before the old name.
// It also returns the first old name that counts, empty if no old name does. What
// begins with another domain is somebody else's.
func Ours(all map[string]string, container string) (said map[string]Said, old string) {
	said = make(map[string]Said)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		var name string
		rank := 0
		switch rest, ours := strings.CutPrefix(key, Prefix); {
		case ours:
			name, rank = rest, 1
			if base, of, one := strings.Cut(rest, "."); one {
				if of != container {
					continue
				}
				name, rank = base, 2
			}
		case key == oldLog:
			name = Log
		case strings.HasPrefix(key, oldPrefix) && !strings.Contains(key, "/"):
			name = strings.TrimPrefix(key, oldPrefix)
		default:
			continue
		}
		if before, there := said[name]; !there || before.rank < rank {
			said[name] = Said{Key: key, Value: all[key], rank: rank}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		for _, s := range said {
			if s.Key == key && s.rank == 0 {
				return said, key
			}
		}
	}
	return said, ""
}

// NewName is what the annotation with that old name is called now.
func NewName(old string) string {
	if old == oldLog {
		return Prefix + Log
	}
	return Prefix + strings.TrimPrefix(old, oldPrefix)
}
