package test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// snapshot is all that could be changed below some directories: names, types,
// links' texts, owners, modes.
type snapshot []string

// snap looks at directories of the host, or of a container: at is where the
// test finds its root. Terminals come and go, and are left out.
func snap(t *testing.T, at string, dirs ...string) snapshot {
	t.Helper()
	var list snapshot
	for _, dir := range dirs {
		check(t, filepath.WalkDir(filepath.Join(at, dir), func(name string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			short := "/" + strings.TrimPrefix(strings.TrimPrefix(name, at), "/")
			if path.Dir(short) == "/dev/pts" || strings.HasPrefix(short, "/run/lxc") {
				return nil
			}
			info, err := os.Lstat(name)
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			line := fmt.Sprintf("%s %d:%d %s", info.Mode(), st.Uid, st.Gid, short)
			if info.Mode()&os.ModeSymlink != 0 {
				to, err := os.Readlink(name)
				if err != nil {
					return err
				}
				line += " -> " + to
			}
			list = append(list, line)
			return nil
		}))
	}
	return list
}

// expectSame compares a snapshot to an earlier one. may are names that may be
// new.
func expectSame(t *testing.T, what string, before, after snapshot, may ...string) {
	t.Helper()
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("%s lost %q", what, line)
		}
	}
	for _, line := range after {
		name := strings.SplitN(line, " ", 3)[2]
		if !slices.Contains(before, line) && !slices.Contains(may, name) {
			t.Errorf("%s has got %q", what, line)
		}
	}
}

// leftovers are the temporary names of killed repairs.
func leftovers(s snapshot) []string {
	var list []string
	for _, line := range s {
		if strings.Contains(line, "/.devlog-tmp-") {
			list = append(list, line)
		}
	}
	return list
}

// world is everything that repairs of some containers could change.
type world struct {
	host, hostMounts snapshot
	files, mounts    []snapshot // of each container
}

// look takes a snapshot of the host and of containers.
func look(t *testing.T, h *Host, cs ...*Cheap) world {
	t.Helper()
	w := world{host: snap(t, h.Path("/"), "/dev", "/run"), hostMounts: table(t, h, 1)}
	for _, c := range cs {
		w.files = append(w.files, snap(t, c.Path("/"), "/dev", "/run"))
		w.mounts = append(w.mounts, table(t, h, c.PID))
	}
	return w
}

// expectWorld compares the world to an earlier one.
func expectWorld(t *testing.T, before, after world, may ...string) {
	t.Helper()
	expectSame(t, "the host", before.host, after.host, may...)
	expectSame(t, "the host's mount table", before.hostMounts, after.hostMounts)
	for i := range before.files {
		expectSame(t, fmt.Sprintf("container %d", i), before.files[i], after.files[i], may...)
		expectSame(t, fmt.Sprintf("container %d's mount table", i), before.mounts[i], after.mounts[i])
	}
}
