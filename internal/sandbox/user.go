package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// User is a user with a group.
type User struct{ UID, GID int }

// The files of users and groups (passwd(5), group(5)). They are read directly: os/user would
// also ask other sources, and be larger.
var passwdFile, groupFile = "/etc/passwd", "/etc/group"

// ParseUser parses NAME or UID, with an optional :GROUP or :GID. Without a group it uses the
// user's group in /etc/passwd.
func ParseUser(text string) (User, error) {
	name, group, hasGroup := strings.Cut(text, ":")
	var u User
	id, err := parseID(name)
	isID := err == nil
	if isID {
		u.UID = id
	}
	if !isID || !hasGroup {
		fields, err := entry(passwdFile, func(f []string) bool {
			return len(f) > 3 && (f[0] == name || isID && f[2] == strconv.FormatUint(uint64(uint32(id)), 10))
		})
		if err != nil {
			if isID {
				return u, fmt.Errorf("user %q: %w; hint: name the group too, as %s:GID", name, err, name)
			}
			return u, fmt.Errorf("user %q: %w", name, err)
		}
		if u.UID, err = parseID(fields[2]); err == nil {
			u.GID, err = parseID(fields[3])
		}
		if err != nil {
			return u, fmt.Errorf("user %q: cannot read %s: %w", name, passwdFile, err)
		}
	}
	if !hasGroup {
		return u, nil
	}
	if id, err := parseID(group); err == nil {
		u.GID = id
		return u, nil
	}
	fields, err := entry(groupFile, func(f []string) bool { return len(f) > 2 && f[0] == group })
	if err == nil {
		u.GID, err = parseID(fields[2])
	}
	if err != nil {
		return u, fmt.Errorf("group %q: %w", group, err)
	}
	return u, nil
}

// parseID parses an ID for system calls. If an int has 32 bits, IDs from 1<<31 on are
// negative.
func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err == nil && id > maxID {
		err = strconv.ErrRange
	}
	return int(id), err
}

// maxID is the largest user or group ID. The next number means "no change".
const maxID = 1<<32 - 2

// Home returns the user's home directory in passwd(5); empty for none.
func Home(uid int) string {
	id := strconv.FormatUint(uint64(uint32(uid)), 10)
	fields, err := entry(passwdFile, func(f []string) bool { return len(f) == 7 && f[2] == id && filepath.IsAbs(f[5]) })
	if err != nil {
		return ""
	}
	return filepath.Clean(fields[5])
}

// maxEntries is the largest passwdFile or groupFile, in bytes.
const maxEntries = 4 << 20

// entry returns the fields of the first line that matches.
func entry(name string, matches func([]string) bool) ([]string, error) {
	text, err := file.Read(name, maxEntries)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); matches(fields) {
			return fields, nil
		}
	}
	return nil, fmt.Errorf("it is not in %s", name)
}

// become makes every thread run as the user, with only that group. Permitted capabilities
// remain, for drop.
func (k *kernel) become(u User) error {
	if err := k.all(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); err != 0 {
		return fmt.Errorf("cannot become user %d: keep capabilities: %w", u.UID, err)
	}
	err := syscall.Setgroups(nil)
	if err == nil {
		err = syscall.Setresgid(u.GID, u.GID, u.GID)
	}
	if err == nil {
		err = syscall.Setresuid(u.UID, u.UID, u.UID)
	}
	if err != nil {
		return fmt.Errorf("cannot become user %d, group %d: %w", u.UID, u.GID, err)
	}
	return nil
}

// AsUser runs f with the user's file system identity (setfsuid(2)) and group, in this thread,
// which must be locked to its goroutine.
func AsUser(u User, f func() error) error {
	uid, gid := os.Geteuid(), os.Getegid()
	groups, err := unix.Getgroups()
	if err != nil {
		return err
	}
	if err := unix.Setgroups(nil); err != nil {
		return fmt.Errorf("cannot act as user %d: %w", u.UID, err)
	}
	set := func(uid, gid int) error {
		if err := file.ActAs(uid, gid); err != nil {
			return fmt.Errorf("cannot act as user %d, group %d: %w", uid, gid, err)
		}
		return nil
	}
	err = set(u.UID, u.GID)
	if err == nil {
		err = f()
	}
	return errors.Join(err, set(uid, gid), unix.Setgroups(groups))
}
