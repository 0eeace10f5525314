package target

import (
	"fmt"
	"os"
	"strings"

	"devlog/internal/file"
)

// mapRoot finds the container's root user and group. In this process's own user namespace,
// as with a rootless engine, they are 0: the files in /proc would tell the IDs in the
// namespace above.
func (t *Target) mapRoot(proc string) error {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(proc + "/ns/user")
	if err != nil || own == theirs {
		return err
	}
	if t.UID, err = mappedRoot(proc + "/uid_map"); err != nil {
		return err
	}
	t.GID, err = mappedRoot(proc + "/gid_map")
	return err
}

// mappedRoot reads from the file which ID outside a user namespace is 0 in it
// (user_namespaces(7), "User and group ID mappings"). If 0 is not mapped, the answer is 0:
// no file can belong to it.
func mappedRoot(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, length uint32 // the number of all IDs does not fit in a 32-bit int
		if n, err := fmt.Sscan(line, &inside, &outside, &length); err != nil || n != 3 {
			return 0, fmt.Errorf("cannot read %s: unexpected line %q", file, line)
		}
		if inside == 0 {
			return int(outside), nil
		}
	}
	return 0, nil
}

// RealUID returns the user ID of this process outside its user namespace: with a rootless
// engine root is another user there.
func RealUID() int {
	uid := os.Geteuid()
	text, err := file.Read("/proc/self/uid_map", 64<<10)
	if err != nil {
		return uid
	}
	return outsideID(string(text), uid)
}

// outsideID returns what an ID in a user namespace is outside, from the text of a
// /proc/PID/uid_map (user_namespaces(7)); the ID itself if the text does not say.
func outsideID(text string, id int) int {
	for line := range strings.Lines(text) {
		var inside, outside, length int64
		if n, err := fmt.Sscan(line, &inside, &outside, &length); err != nil || n != 3 {
			return id
		}
		if at := int64(id) - inside; at >= 0 && at < length {
			return int(outside + at)
		}
	}
	return id
}
