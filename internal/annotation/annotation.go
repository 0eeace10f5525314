// Package annotation owns the annotations of containers: which are devlog's, and a container's
// name in Kubernetes.
package annotation

import (
	"maps"
	"slices"
	"strings"
)

// Prefix begins devlog's annotations: devlog.dev/NAME. Kubernetes requires a domain before
// names that are not its own ("Annotations", "Syntax and character set").
const Prefix = "devlog.dev/"

// The former names of the annotations: devlog, devlog.NAME.
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

// Said is one of devlog's annotations.
type Said struct {
	// Key is the full annotation, for errors.
	Key string
	// Value is its value.
	Value string
	rank  int
}

// Name returns the name under which a hook gets the annotation that Ours calls name: without a
// container's, but the former one if it has that, which the hook reports.
func (s Said) Name(name string) string {
	if s.rank == 0 {
		return s.Key
	}
	return Prefix + name
}

// Ours returns devlog's annotations of a container, by name without the prefix. In a pod,
// devlog.dev/NAME.CONTAINER applies only to the container with that name, and has precedence
// over devlog.dev/NAME. Both have precedence over the former name. It also returns the first
// former name that applies; "" for none. Annotations with another domain are ignored.
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

// NewName returns the present name of the annotation with that former name.
func NewName(old string) string {
	if old == oldLog {
		return Prefix + Log
	}
	return Prefix + strings.TrimPrefix(old, oldPrefix)
}
