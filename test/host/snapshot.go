package host

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

// Aside is the name to which a repair renames a /dev/log that is in the way.
const Aside = "/dev/log.devlog-old"

// Snapshot is what can change below some directories: names, types, links' texts,
// owners, modes.
type Snapshot []string

// Snap takes a snapshot of directories of the host or a container, whose root the test
// sees at at. It leaves out terminals, which come and go.
func Snap(t *testing.T, at string, dirs ...string) Snapshot {
	t.Helper()
	var list Snapshot
	for _, dir := range dirs {
		Check(t, filepath.WalkDir(filepath.Join(at, dir), func(name string, _ os.DirEntry, err error) error {
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

// ExpectSame compares a snapshot to an earlier one. The names in may may be new.
func ExpectSame(t *testing.T, what string, before, after Snapshot, may ...string) {
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

// World is everything that repairs of some containers can change.
type World struct {
	Host, HostMounts Snapshot
	Files, Mounts    []Snapshot // of each container
}

// Look takes a snapshot of the host and of containers.
func Look(t *testing.T, h *Host, cs ...*Cheap) World {
	t.Helper()
	w := World{Host: Snap(t, h.Path("/"), "/dev", "/run"), HostMounts: Table(t, h, 1)}
	for _, c := range cs {
		w.Files = append(w.Files, Snap(t, c.Path("/"), "/dev", "/run"))
		w.Mounts = append(w.Mounts, Table(t, h, c.PID))
	}
	return w
}

// ExpectWorld compares the world to an earlier one.
func ExpectWorld(t *testing.T, before, after World, may ...string) {
	t.Helper()
	ExpectSame(t, "the host", before.Host, after.Host, may...)
	ExpectSame(t, "the host's mount table", before.HostMounts, after.HostMounts)
	for i := range before.Files {
		ExpectSame(t, fmt.Sprintf("container %d", i), before.Files[i], after.Files[i], may...)
		ExpectSame(t, fmt.Sprintf("container %d's mount table", i), before.Mounts[i], after.Mounts[i])
	}
}

// LiveSocket makes a daemon of the host listen at its /dev/log.
func LiveSocket(t *testing.T, h *Host) { _ = ListenOn(t, h, "/dev/log") }

// GiveBack restores a renamed /dev/log. An undo does not, because other containers may
// rely on the present one, or have mounted over it.
func GiveBack(t *testing.T, h *Host) {
	t.Helper()
	if _, err := os.Lstat(h.Path(Aside)); err == nil {
		_ = os.Remove(h.Path("/dev/log")) // it may not exist
		Check(t, os.Rename(h.Path(Aside), h.Path("/dev/log")))
	}
}

// ExpectAsBefore compares everything to what it was before a repair that was undone. It
// also undoes the preparation of a host that the repair prepared.
func ExpectAsBefore(t *testing.T, h *Host, c *Cheap, inside bool, before World, may ...string) {
	t.Helper()
	if _, err := os.Lstat(h.Path("/dev/.devlog-host")); err == nil && !Named(before.Host, "/dev/.devlog-host") {
		h.Must(HookOn(), "undo", "--host")
	}
	GiveBack(t, h)
	if inside && !Named(before.Host, "/dev/log") {
		may = append(may, "/dev/log") // others may have mounted over it by now
	}
	ExpectWorld(t, before, Look(t, h, c), may...)
}

// ExpectUndone undoes, twice, and compares everything to what it was.
func ExpectUndone(t *testing.T, h *Host, c *Cheap, inside bool, before World, may ...string) {
	t.Helper()
	if r := c.Hook(inside, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "undone") {
		t.Errorf("undo: %+v", r)
	}
	if left := h.Receivers(); len(left) != 0 {
		t.Errorf("left running: %q", h.Processes())
	}
	ExpectAsBefore(t, h, c, inside, before, may...)
	if r := c.Hook(inside, "undo"); r.Code != 0 || !strings.HasPrefix(r.Out, "nothing to do") {
		t.Errorf("the second undo: %+v", r)
	}
	ExpectAsBefore(t, h, c, inside, before, may...)
}
