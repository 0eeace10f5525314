package launch

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devlog/internal/file"
)

// InUse is what running receivers use: the files and directories that they have open, and
// the names of their containers.
type InUse struct {
	Files map[file.ID]bool
	Names map[string]bool
}

// The bounds of one clearing. A container's start waits for it.
const (
	clearEvery  = time.Hour // the shortest time between two
	maxLooked   = 10000     // directories that are looked at
	maxCleared  = 100       // directories that are removed
	maxLogFiles = 1000      // files in a directory; one with more is left
)

// Names in the directory of logs.
const (
	stampName   = ".devlog-cleared" // its time is that of the last clearing
	clearPrefix = ".devlog-old-"    // begins a directory that is about to be removed
)

// ParseKeep reads a time to keep logs for, such as 30d, 2w or 12h; an empty one is 0.
func ParseKeep(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	const day = 24 * time.Hour
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			if n, err := strconv.ParseUint(number, 10, 32); err == nil && n > 0 && n <= uint64(math.MaxInt64/unit) {
				return time.Duration(n) * unit, nil
			}
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is no time: want a number and h, d or w, such as 30d", text)
}

// ClearLogs removes from dir the logs of containers that have ended: directories of which
// the newest file is older than keep, and that no receiver uses. It removes only regular
// files, follows no link, and does nothing if the last clearing was less than an hour ago.
func ClearLogs(dir string, keep time.Duration, inUse func() (InUse, error)) (err error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot clear old logs: %w", err)
	}
	defer root.Close()
	c := &clearing{root: root, before: time.Now().Add(-keep)}
	if due, err := c.isDue(); err != nil || !due {
		return c.failed(err)
	}
	list, err := c.candidates()
	if err != nil || len(list) == 0 {
		return c.failed(err)
	}
	used, err := inUse()
	if err != nil {
		return c.failed(err)
	}
	// A receiver that starts now opens its directory by the old name, before or after.
	var aside []string
	for _, name := range list {
		old := name
		if used.Names[name] {
			continue
		}
		if !strings.HasPrefix(name, clearPrefix) {
			if old = clearPrefix + name; c.rename(name, old) != nil {
				continue
			}
		}
		aside = append(aside, old)
	}
	if used, err = inUse(); err != nil {
		return c.failed(err)
	}
	var errs []error
	for _, old := range aside {
		if d := c.look(old); d.isOld(c.before) && !d.isUsed(used) {
			errs = append(errs, c.remove(old, d))
		} else {
			_ = c.rename(old, strings.TrimPrefix(old, clearPrefix)) // or it stays where it is
		}
	}
	return c.failed(errors.Join(errs...))
}

// clearing is one run of ClearLogs.
type clearing struct {
	root   *os.Root
	before time.Time
}

func (c *clearing) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot clear old logs in %s: %w", c.root.Name(), err)
}

// isDue says whether the last clearing is long enough ago, and notes that this one is now.
func (c *clearing) isDue() (bool, error) {
	now := time.Now()
	info, err := c.root.Lstat(stampName)
	if err == nil && now.Sub(info.ModTime()) < clearEvery && !info.ModTime().After(now) {
		return false, nil
	}
	f, err := c.root.OpenFile(stampName, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return false, err
	}
	f.Close()
	return true, c.root.Chtimes(stampName, now, now)
}

// candidates are the directories that are old enough, at most maxCleared.
func (c *clearing) candidates() (list []string, err error) {
	entries, err := readDir(c.root, maxLooked)
	for _, e := range entries {
		if len(list) == maxCleared {
			break
		}
		if e.IsDir() && e.Name() != byNameDir && c.look(e.Name()).isOld(c.before) {
			list = append(list, e.Name())
		}
	}
	return list, err
}

// logsDir is a container's directory of logs.
type logsDir struct {
	names  []string
	ids    []file.ID // of the directory and its files
	newest time.Time // zero for one with anything but logs
}

func (d logsDir) isOld(before time.Time) bool { return !d.newest.IsZero() && d.newest.Before(before) }

func (d logsDir) isUsed(used InUse) bool {
	for _, id := range d.ids {
		if used.Files[id] {
			return true
		}
	}
	return false
}

// look looks at a directory of logs.
func (c *clearing) look(name string) (d logsDir) {
	info, err := c.root.Lstat(name)
	if err != nil || !info.IsDir() {
		return logsDir{}
	}
	sub, err := c.root.OpenRoot(name)
	if err != nil {
		return logsDir{}
	}
	defer sub.Close()
	opened, err := sub.Stat(".")
	if err != nil || !os.SameFile(info, opened) {
		return logsDir{} // it was a link
	}
	entries, err := readDir(sub, maxLogFiles+1)
	if err != nil || len(entries) > maxLogFiles {
		return logsDir{}
	}
	d.ids, d.newest = append(d.ids, idOf(opened)), opened.ModTime()
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			return logsDir{}
		}
		d.names = append(d.names, e.Name())
		d.ids = append(d.ids, idOf(info))
		if info.ModTime().After(d.newest) {
			d.newest = info.ModTime()
		}
	}
	return d
}

// rename renames a directory to a name that nothing has.
func (c *clearing) rename(from, to string) error {
	f, err := c.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Renameat2(int(f.Fd()), from, int(f.Fd()), to, unix.RENAME_NOREPLACE)
}

// remove removes the directory with its files, and the links by name that led there.
func (c *clearing) remove(old string, d logsDir) error {
	var errs []error
	for _, name := range d.names {
		errs = append(errs, c.root.Remove(filepath.Join(old, name)))
	}
	if err := errors.Join(append(errs, c.root.Remove(old))...); err != nil {
		return err
	}
	links, err := c.root.OpenRoot(byNameDir)
	if err != nil {
		return nil //nolint:nilerr // there are no links
	}
	defer links.Close()
	entries, err := readDir(links, maxLooked)
	for _, e := range entries {
		if to, lerr := links.Readlink(e.Name()); lerr == nil && to == filepath.Join("..", strings.TrimPrefix(old, clearPrefix)) {
			err = errors.Join(err, links.Remove(e.Name()))
		}
	}
	return err
}

// readDir returns the entries of the directory, at most so many.
func readDir(root *os.Root, most int) ([]os.DirEntry, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(most)
	if len(entries) == 0 {
		err = nil // its end
	}
	return entries, err
}

func idOf(info os.FileInfo) file.ID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return file.ID{}
	}
	return file.ID{Dev: uint64(st.Dev), Ino: st.Ino} //nolint:unconvert // not everywhere of that type
}
