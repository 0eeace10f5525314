package target

import (
	"fmt"
	"os"
	"strings"

	"devlog/internal/file"
)

// mapRoot finds out who the container's root is. In a user namespace that is
// this process's own too, as with an engine without root, it is who it is here;
// the files there tell of the namespace above.
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

// mappedRoot is what ID 0 of a user namespace is outside, as the file says
// (user_namespaces(7), "User and group ID mappings"). Where 0 is not mapped it
// is 0: no file can belong to it anyway.
func mappedRoot(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, length uint32 // the length of all IDs does not fit in an int of 32 bits
		if n, err := fmt.Sscan(line, &inside, &outside, &length); err != nil || n != 3 {
			return 0, fmt.Errorf("read %s: unexpected line %q", file, line)
		}
		if inside == 0 {
			return int(outside), nil
		}
	}
	return 0, nil
}

// RealUID is the user whom this process runs for: in a user namespace, such as an
// engine's without root, root is somebody else outside of it.
func RealUID() int {
	uid := os.Geteuid()
	text, err := file.Read("/proc/self/uid_map", 64<<10)
	if err != nil {
		return uid
	}
	return outsideID(string(text), uid)
}

// outsideID is what an ID of a user namespace is outside, as the text of a
// /proc/PID/uid_map says (user_namespaces(7)); the ID itself where that does not
// say it.
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
