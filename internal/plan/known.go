package plan

import (
	"path"
	"slices"
	"strings"

	"devlog/internal/names"
)

// KnownPaths are those of every host, the private socket's, and the administrator's.
func KnownPaths(socket string, listed []string) []string {
	return append([]string{names.DefaultSocket, names.JournalSocket, socket}, listed...)
}

// IsKnown says whether a link's text is the path of one of the places. Where that
// leads in a container is the container's own affair, and nothing that others can
// choose: so a text with .. in it is never known.
func IsKnown(text string, places []string) bool {
	if !path.IsAbs(text) || slices.Contains(strings.Split(text, "/"), "..") {
		return false
	}
	return slices.ContainsFunc(places, func(place string) bool { return inRun(place) == inRun(text) })
}

// inRun is the path without the name that /run has had before it (hier(7)).
func inRun(name string) string {
	name = path.Clean(name)
	if rest, ok := strings.CutPrefix(name, "/var/run/"); ok {
		return "/run/" + rest
	}
	return name
}
