package plan

import (
	"path"
	"slices"
	"strings"

	"devlog/internal/names"
)

// KnownPaths returns the paths to which a shared /dev/log may point: those of every host,
// the private socket's, and those that the administrator listed.
func KnownPaths(socket string, listed []string) []string {
	return append([]string{names.DefaultSocket, names.JournalSocket, socket}, listed...)
}

// IsKnown returns whether a link's text is one of the paths. Other containers can choose the
// text, but not what such a path is in this container. A text with .. is never known.
func IsKnown(text string, paths []string) bool {
	if !path.IsAbs(text) || slices.Contains(strings.Split(text, "/"), "..") {
		return false
	}
	return slices.ContainsFunc(paths, func(p string) bool { return inRun(p) == inRun(text) })
}

// inRun returns the path with /run for its old name /var/run (hier(7)).
func inRun(name string) string {
	name = path.Clean(name)
	if rest, ok := strings.CutPrefix(name, "/var/run/"); ok {
		return "/run/" + rest
	}
	return name
}
