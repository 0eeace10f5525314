// Package annotation owns the annotations of containers: which are devlog's, and a container's
// name in Kubernetes.
package annotation

import (
	"strings"
)

// Prefix begins devlog's annotations: devlog.dev/NAME. Kubernetes requires a domain before
// names that are not its own ("Annotations", "Syntax and character set").
const Prefix = "devlog.dev/"

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
	one   bool // it applies to this container of the pod only
}

// Ours returns devlog's annotations of a container, by name without the prefix. In a pod,
// devlog.dev/NAME.CONTAINER applies only to the container with that name, and has precedence
// over devlog.dev/NAME. Annotations with another domain are ignored.
func Ours(all map[string]string, container string) map[string]Said {
	said := make(map[string]Said)
	for key, value := range all {
		rest, ours := strings.CutPrefix(key, Prefix)
		if !ours {
			continue
		}
		name, of, one := strings.Cut(rest, ".")
		if one && of != container || !one && said[name].one {
			continue
		}
		said[name] = Said{Key: key, Value: value, one: one}
	}
	return said
}
