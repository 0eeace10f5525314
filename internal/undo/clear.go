package undo

import (
	"errors"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"devlog/internal/changes"
	"devlog/internal/names"
	"devlog/internal/plan"
	"devlog/internal/running"
	"devlog/internal/target"
)

// Clear removes what a repair left in the root directory of a container that has ended, if its
// receiver could not: it was killed, or ended with the container's PID namespace. It returns
// false if there is nothing to remove, or no such directory. It does not touch /dev, which
// others may use.
func Clear(dir, socket string, known ...string) (cleared bool, err error) {
	t, err := target.AtRoot(dir)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer t.Close()
	defer t.Lock()()
	for _, at := range clearDirs(socket, known) {
		done, err := clearAt(t, at)
		cleared = cleared || done
		if err != nil {
			return cleared, err
		}
	}
	return cleared, nil
}

// clearDirs returns the directories that may have a repair's record: the socket's, and the one
// to which the host's /dev/log points, because the container may have shared it. The latter
// must be a known path: elsewhere a neighbour may have forged a record.
func clearDirs(socket string, known []string) []string {
	dirs := []string{path.Dir(socket)}
	to, err := os.Readlink(names.LogPath)
	if err == nil && plan.IsKnown(to, plan.KnownPaths(socket, known)) && !slices.Contains(dirs, path.Dir(to)) {
		dirs = append(dirs, path.Dir(to))
	}
	return dirs
}

// clearAt clears the directory if it has the record of a repair and no receiver uses it. Paths
// in the record are only used inside the root.
func clearAt(t *target.Target, dir string) (bool, error) {
	at, err := t.Root.Dir(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer at.Close()
	r := changes.Read(at)
	if r == nil || r.Host {
		return false, nil
	}
	// Another container may use this root directory, or its receiver is about to end and clean
	// up.
	if len(running.In(at)) > 0 {
		return false, nil
	}
	name := path.Base(r.Socket)
	if l, err := at.Listening(name); err != nil || l.Live {
		return false, err
	}
	if err := errors.Join(removeStale(at, name), unpoint(r, t)); err != nil {
		return false, err
	}
	return true, removeRest(r, t, at)
}
